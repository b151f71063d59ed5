-- Image upgrades. An operator or a pipeline requests an upgrade. Passes then move the
-- image from state to state, each time with a compare-and-set under the fence.

CREATE TABLE image_answers (
    image_id text NOT NULL,
    outcome  text NOT NULL,
    -- The image's state after the call.
    state    text,
    CONSTRAINT image_answers_only_a_shape CHECK (false)
);

-- A request is not a write of a pass. It locks the fence's row without raising the
-- version, so that no pass moves an image at the same time. The latest request wins.
CREATE FUNCTION ask_upgrade(region text, image_id text, client_sha text)
RETURNS SETOF image_answers
LANGUAGE plpgsql AS $$
DECLARE
    asked images;
    swaps_by_itself boolean;
BEGIN
    SELECT r.swap_when_warm INTO swaps_by_itself FROM regions r WHERE r.name = ask_upgrade.region;
    IF NOT FOUND THEN
        RETURN QUERY SELECT ask_upgrade.image_id, 'UNKNOWN', NULL::text;
        RETURN;
    END IF;
    PERFORM internal.raise_fence(ask_upgrade.region, 0);
    SELECT m.* INTO asked FROM images m
    WHERE m.region = ask_upgrade.region AND m.image_id = ask_upgrade.image_id;
    IF FOUND AND asked.client_sha IS DISTINCT FROM ask_upgrade.client_sha THEN
        -- An image is built once, from one commit, so its client_sha cannot change.
        RETURN QUERY SELECT asked.image_id, 'OTHER_SHA', asked.state;
        RETURN;
    END IF;
    UPDATE images m SET state = 'FAILED', reason = 'a newer upgrade was asked for, to '
        || ask_upgrade.image_id
    WHERE m.region = ask_upgrade.region AND m.state = 'WARMING'
        AND m.image_id <> ask_upgrade.image_id;
    IF asked.state IN ('WARMING', 'CURRENT') THEN
        RETURN QUERY SELECT asked.image_id, 'ALREADY', asked.state;
        RETURN;
    END IF;
    IF asked.state = 'BAKING' THEN
        -- The image is served and warm. If an app version decides which image is current,
        -- then setting the app version is how to roll back: the image bakes for another
        -- bake_seconds, so that it is ready for that. If the app version cannot decide
        -- (swap_when_warm, or both images have one client_sha), this request rolls back.
        IF swaps_by_itself OR asked.client_sha = (SELECT m.client_sha FROM images m
            WHERE m.region = ask_upgrade.region AND m.state = 'CURRENT')
        THEN
            PERFORM internal.make_current(ask_upgrade.region, ask_upgrade.image_id);
            RETURN QUERY SELECT asked.image_id, 'ASKED', 'CURRENT';
        ELSE
            UPDATE images m SET state_since = now()
            WHERE m.region = ask_upgrade.region AND m.image_id = ask_upgrade.image_id;
            RETURN QUERY SELECT asked.image_id, 'ASKED', asked.state;
        END IF;
        RETURN;
    END IF;
    INSERT INTO images AS m (region, image_id, client_sha, state)
    VALUES (ask_upgrade.region, ask_upgrade.image_id, ask_upgrade.client_sha, 'WARMING')
    ON CONFLICT ON CONSTRAINT images_pkey DO UPDATE SET state = 'WARMING';
    RETURN QUERY SELECT ask_upgrade.image_id, 'ASKED', 'WARMING';
END
$$;
COMMENT ON FUNCTION ask_upgrade IS
    'Requests a new image in a region. It supersedes an image that is still WARMING. ASKED, ALREADY, '
    'OTHER_SHA (the image is known with another client_sha), or UNKNOWN (the region has no row).';

-- Makes the image CURRENT, and the image that was CURRENT before BAKING.
CREATE FUNCTION internal.make_current(region text, image_id text) RETURNS void
LANGUAGE sql AS $$
    UPDATE images m SET state = 'BAKING'
    WHERE m.region = make_current.region AND m.state = 'CURRENT'
        AND m.image_id <> make_current.image_id;
    UPDATE images m SET state = 'CURRENT'
    WHERE m.region = make_current.region AND m.image_id = make_current.image_id
        AND m.state <> 'CURRENT';
$$;

CREATE FUNCTION move_image(region text, version bigint, image_id text, from_state text,
    to_state text, reason text)
RETURNS SETOF write_results
LANGUAGE plpgsql AS $$
DECLARE
    state_now text;
    asked_since boolean;
BEGIN
    -- A null state is rejected, too.
    IF NOT coalesce((move_image.from_state, move_image.to_state) IN (('WARMING', 'CURRENT'),
        ('BAKING', 'CURRENT'), ('WARMING', 'FAILED'), ('BAKING', 'RETIRED')), false) THEN
        RAISE EXCEPTION 'move_image: no image goes from % to %',
            coalesce(move_image.from_state, 'null'), coalesce(move_image.to_state, 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF internal.fenced(move_image.region, move_image.version) THEN
        RETURN QUERY SELECT move_image.region, 'FENCED';
        RETURN;
    END IF;
    -- The image may have been requested again after the pass observed it. It then has
    -- the same state with a newer `state_since`, and the decision, which was based on
    -- the older time, no longer applies.
    SELECT m.state, coalesce(m.state_since > f.last_pass_at, false) INTO state_now, asked_since
    FROM images m JOIN region_fences f ON f.region = m.region
    WHERE m.region = move_image.region AND m.image_id = move_image.image_id FOR UPDATE OF m;
    IF NOT FOUND THEN
        RETURN QUERY SELECT move_image.image_id, 'UNKNOWN';
    ELSIF state_now = move_image.to_state THEN
        RETURN QUERY SELECT move_image.image_id, 'ALREADY';
    ELSIF state_now <> move_image.from_state OR asked_since THEN
        RETURN QUERY SELECT move_image.image_id, 'WRONG_STATE';
    ELSE
        IF move_image.to_state = 'CURRENT' THEN
            PERFORM internal.make_current(move_image.region, move_image.image_id);
        ELSE
            UPDATE images m SET state = move_image.to_state, reason = move_image.reason
            WHERE m.region = move_image.region AND m.image_id = move_image.image_id;
        END IF;
        RETURN QUERY SELECT move_image.image_id, 'DONE';
    END IF;
END
$$;
COMMENT ON FUNCTION move_image IS
    'Moves an image from one state to the next. An image that is replaced as CURRENT becomes '
    'BAKING. DONE, ALREADY, WRONG_STATE, UNKNOWN, or FENCED.';
