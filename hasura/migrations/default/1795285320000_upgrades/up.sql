-- How a region comes to a new image: asked for by an operator or a pipeline, and
-- moved on by passes, each step a compare-and-set under the fence.

CREATE TABLE image_answers (
    image_id text NOT NULL,
    outcome  text NOT NULL,
    -- The image's state now.
    state    text,
    CONSTRAINT image_answers_only_a_shape CHECK (false)
);

-- Asking is no pass's write: it holds the fence's row, so that no pass moves an
-- image at the same time, and whoever asks last wins.
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
        -- An image was built once, from one commit.
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
        -- It is served and warm. Where an app version decides, naming it is the way
        -- back, and it is kept ready for that from now on. Where none can, this is it.
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
    'Asks for a new image in a region; a newer one wins over one that still warms. ASKED, ALREADY, '
    'OTHER_SHA (the image is known with another client_sha), or UNKNOWN (no such region).';

-- The image takes the place of the current one, which bakes from now on.
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
    -- A null state is none of them, too.
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
    -- Since the pass looked, the image may have been asked for and be in the same state
    -- again, its time anew: what the pass decided was about the time before.
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
    'Moves an image from one state to the next; the current one bakes when another takes its '
    'place. DONE, ALREADY, WRONG_STATE, UNKNOWN, or FENCED.';
