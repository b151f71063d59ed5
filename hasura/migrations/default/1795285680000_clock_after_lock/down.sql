-- The functions with the times of the transaction's begin.

CREATE OR REPLACE FUNCTION internal.wake(region text, image_ids text[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    this_bucket CONSTANT timestamptz := date_bin('2 seconds', now(), 'epoch');
BEGIN
    IF EXISTS (SELECT FROM region_wakeups w
            WHERE w.region = wake.region AND w.bucket = this_bucket) THEN
        RETURN;
    END IF;
    IF wake.image_ids IS NULL OR internal.is_below_target(wake.region, wake.image_ids) THEN
        INSERT INTO region_wakeups (region, bucket) VALUES (wake.region, this_bucket)
        ON CONFLICT DO NOTHING;
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION ask_upgrade(region text, image_id text, client_sha text)
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

CREATE OR REPLACE FUNCTION internal.image_state_has_a_time() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state <> OLD.state THEN
        NEW.state_since := now();
        IF NEW.state <> 'FAILED' THEN
            NEW.reason := NULL;
        END IF;
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION observe_region(region text, environment text)
RETURNS SETOF region_views
LANGUAGE sql VOLATILE AS $$
    SELECT r.name,
        now(),
        -- Users, not requests: a user who tries again with another session is counted once.
        (SELECT count(DISTINCT u.user_id)::integer FROM waiting_users u
         WHERE u.region = r.name AND u.last_at >= now() - interval '1 minute'),
        internal.watched_since(r.name),
        (SELECT v.client_sha FROM app_versions v WHERE v.environment = observe_region.environment),
        to_jsonb(r)
    FROM regions r WHERE r.name = observe_region.region
$$;

CREATE OR REPLACE FUNCTION begin_pass(region text, version bigint) RETURNS SETOF pass_fences
LANGUAGE plpgsql AS $$
DECLARE
    in_force bigint := internal.raise_fence(begin_pass.region, begin_pass.version);
BEGIN
    IF in_force = begin_pass.version THEN
        UPDATE region_fences f
        SET watched_since = internal.watched_since(begin_pass.region), last_pass_at = now()
        WHERE f.region = begin_pass.region;
        PERFORM internal.prune(begin_pass.region);
    END IF;
    RETURN QUERY SELECT begin_pass.region, in_force, in_force = begin_pass.version;
END
$$;

DROP FUNCTION internal.watched_since(text, timestamptz);
