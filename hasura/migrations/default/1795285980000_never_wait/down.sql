-- The writes of passes as they were, which wait.

DO $$
DECLARE
    write regprocedure;
BEGIN
    FOR write IN
        SELECT p.oid FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace AND 'version' = ANY (p.proargnames)
    LOOP
        EXECUTE format('ALTER FUNCTION %s RESET lock_timeout', write);
    END LOOP;
END
$$;

DROP FUNCTION internal.insert_new_instances(text, jsonb, text);
DROP FUNCTION internal.ids_of(jsonb);
DROP FUNCTION internal.all_busy(text[]);
DROP FUNCTION internal.try_lock_slots(text[]);
DROP FUNCTION internal.try_lock_instances(text, text[]);

CREATE FUNCTION internal.lock_instances(region text, ids jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM i.id FROM instances i
    WHERE i.region = lock_instances.region
        AND i.id IN (SELECT jsonb_array_elements_text(lock_instances.ids))
    ORDER BY i.id FOR UPDATE;
END
$$;

CREATE OR REPLACE FUNCTION record_instances(region text, version bigint, instances jsonb)
RETURNS SETOF write_results
LANGUAGE plpgsql AS $$
BEGIN
    IF internal.fenced(record_instances.region, record_instances.version) THEN
        RETURN QUERY SELECT record_instances.region, 'FENCED';
        RETURN;
    END IF;
    RETURN QUERY SELECT * FROM internal.insert_instances(
        record_instances.region, record_instances.instances, 'PRE_CONNECTION');
END
$$;
COMMENT ON FUNCTION record_instances IS 'Records launched instances. DONE, ALREADY, or FENCED.';

CREATE OR REPLACE FUNCTION adopt_orphans(region text, version bigint, instances jsonb)
RETURNS SETOF write_results
LANGUAGE plpgsql AS $$
BEGIN
    IF internal.fenced(adopt_orphans.region, adopt_orphans.version) THEN
        RETURN QUERY SELECT adopt_orphans.region, 'FENCED';
        RETURN;
    END IF;
    RETURN QUERY SELECT * FROM internal.insert_instances(
        adopt_orphans.region, adopt_orphans.instances, 'TERMINATING');
END
$$;
COMMENT ON FUNCTION adopt_orphans IS
    'Records instances that have no row as TERMINATING. DONE, ALREADY, or FENCED.';

CREATE OR REPLACE FUNCTION drain_instances(region text, version bigint, ids jsonb, cause text)
RETURNS SETOF write_results
LANGUAGE plpgsql AS $$
BEGIN
    IF internal.fenced(drain_instances.region, drain_instances.version) THEN
        RETURN QUERY SELECT drain_instances.region, 'FENCED';
        RETURN;
    END IF;
    PERFORM internal.lock_instances(drain_instances.region, drain_instances.ids);
    RETURN QUERY
    WITH looked AS (
        SELECT g.id, CASE
                WHEN i.id IS NULL THEN 'UNKNOWN'
                WHEN i.status = 'DRAINING' THEN 'ALREADY'
                WHEN i.status = 'TERMINATING' THEN 'WRONG_STATE'
                -- Users on an instance that EC2 is about to take lose it anyway, and those on a
                -- suspect stay. Draining it keeps other users from being assigned to it.
                WHEN i.notice IS NULL AND drain_instances.cause IS DISTINCT FROM 'SUSPECT'
                    AND internal.is_occupied(i.id) THEN 'OCCUPIED'
                ELSE 'DONE'
            END AS outcome
        FROM (SELECT DISTINCT jsonb_array_elements_text(drain_instances.ids) AS id) g
        LEFT JOIN instances i ON i.id = g.id AND i.region = drain_instances.region
    ), changed AS (
        UPDATE instances i SET status = 'DRAINING', draining_since = internal.clock(),
            drain_cause = drain_instances.cause
        FROM looked l WHERE i.id = l.id AND l.outcome = 'DONE'
    )
    SELECT l.id, l.outcome FROM looked l ORDER BY l.id;
END
$$;
COMMENT ON FUNCTION drain_instances IS
    'Drains instances that are empty, that EC2 is about to take, or whose sessions end quickly: no '
    'users are assigned to them any more. DONE, ALREADY, OCCUPIED, WRONG_STATE, UNKNOWN, or FENCED.';

CREATE OR REPLACE FUNCTION reopen_instances(region text, version bigint, ids jsonb)
RETURNS SETOF write_results
LANGUAGE plpgsql AS $$
BEGIN
    IF internal.fenced(reopen_instances.region, reopen_instances.version) THEN
        RETURN QUERY SELECT reopen_instances.region, 'FENCED';
        RETURN;
    END IF;
    PERFORM internal.lock_instances(reopen_instances.region, reopen_instances.ids);
    RETURN QUERY
    WITH looked AS (
        SELECT g.id, CASE
                WHEN i.id IS NULL THEN 'UNKNOWN'
                WHEN i.status = 'ACTIVE' THEN 'ALREADY'
                WHEN i.status = 'DRAINING' AND i.drain_cause = 'SURPLUS' AND i.notice IS NULL
                    AND h.beat_at < i.draining_since
                    AND h.beat_at >= now() - make_interval(secs => r.heartbeat_seconds)
                    THEN 'DONE'
                ELSE 'WRONG_STATE'
            END AS outcome
        FROM (SELECT DISTINCT jsonb_array_elements_text(reopen_instances.ids) AS id) g
        LEFT JOIN instances i ON i.id = g.id AND i.region = reopen_instances.region
        LEFT JOIN regions r ON r.name = i.region
        LEFT JOIN heartbeats h ON h.instance_id = i.id
    ), changed AS (
        UPDATE instances i SET status = 'ACTIVE', draining_since = NULL, drain_cause = NULL
        FROM looked l WHERE i.id = l.id AND l.outcome = 'DONE'
    )
    SELECT l.id, l.outcome FROM looked l ORDER BY l.id;
END
$$;
COMMENT ON FUNCTION reopen_instances IS
    'Takes back drains for surplus of which the agents do not know yet. DONE, ALREADY, '
    'WRONG_STATE, UNKNOWN, or FENCED.';

CREATE OR REPLACE FUNCTION terminate_instances(region text, version bigint, ids jsonb, reason text)
RETURNS SETOF write_results
LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(terminate_instances.reason, '') NOT IN ('EMPTY', 'LOST', 'MISSING', 'GONE') THEN
        RAISE EXCEPTION 'terminate_instances: reason must be EMPTY, LOST, MISSING or GONE, not %',
            coalesce(terminate_instances.reason, 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF internal.fenced(terminate_instances.region, terminate_instances.version) THEN
        RETURN QUERY SELECT terminate_instances.region, 'FENCED';
        RETURN;
    END IF;
    PERFORM internal.lock_instances(terminate_instances.region, terminate_instances.ids);
    RETURN QUERY
    WITH looked AS (
        SELECT g.id, CASE
                WHEN i.id IS NULL THEN 'UNKNOWN'
                WHEN i.status = 'TERMINATING' THEN 'ALREADY'
                WHEN terminate_instances.reason = 'EMPTY' AND internal.is_occupied(i.id)
                    THEN 'OCCUPIED'
                -- It registered after the pass observed it, so it must be drained first.
                WHEN terminate_instances.reason = 'EMPTY' AND i.status = 'ACTIVE'
                    THEN 'WRONG_STATE'
                -- An instance that sends heartbeats exists, even if a listing omits it.
                WHEN terminate_instances.reason = 'MISSING'
                    AND h.beat_at >= now() - make_interval(secs => r.heartbeat_seconds)
                    THEN 'ALIVE'
                WHEN terminate_instances.reason = 'LOST'
                    AND greatest(coalesce(h.beat_at, i.active_at, i.launched_at),
                            internal.watched_since(i.region))
                        >= now() - make_interval(secs => r.lost_seconds) THEN 'ALIVE'
                ELSE 'DONE'
            END AS outcome
        FROM (SELECT DISTINCT jsonb_array_elements_text(terminate_instances.ids) AS id) g
        LEFT JOIN instances i ON i.id = g.id AND i.region = terminate_instances.region
        LEFT JOIN regions r ON r.name = i.region
        LEFT JOIN heartbeats h ON h.instance_id = i.id
    ), changed AS (
        UPDATE instances i SET status = 'TERMINATING'
        FROM looked l WHERE i.id = l.id AND l.outcome = 'DONE'
    ), ended AS (
        -- The sessions ended with their instance. DYING slots let their users be assigned
        -- again, and a repeated request does not return the dead address.
        UPDATE slots s SET status = 'DYING'
        FROM looked l WHERE s.instance_id = l.id AND l.outcome = 'DONE'
            AND s.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING')
    )
    SELECT l.id, l.outcome FROM looked l ORDER BY l.id;
END
$$;
COMMENT ON FUNCTION terminate_instances IS
    'Sets instances to TERMINATING because they are EMPTY, LOST (no heartbeat), MISSING from '
    'listings, or GONE from EC2. DONE, ALREADY, OCCUPIED, ALIVE, WRONG_STATE, UNKNOWN, or FENCED.';

CREATE OR REPLACE FUNCTION remove_instances(region text, version bigint, ids jsonb)
RETURNS SETOF write_results
LANGUAGE plpgsql AS $$
BEGIN
    IF internal.fenced(remove_instances.region, remove_instances.version) THEN
        RETURN QUERY SELECT remove_instances.region, 'FENCED';
        RETURN;
    END IF;
    PERFORM internal.lock_instances(remove_instances.region, remove_instances.ids);
    RETURN QUERY
    WITH looked AS (
        SELECT g.id, CASE
                WHEN i.id IS NULL THEN 'UNKNOWN'
                WHEN i.status = 'TERMINATING' THEN 'DONE'
                ELSE 'WRONG_STATE'
            END AS outcome
        FROM (SELECT DISTINCT jsonb_array_elements_text(remove_instances.ids) AS id) g
        LEFT JOIN instances i ON i.id = g.id AND i.region = remove_instances.region
    ), removed AS (
        DELETE FROM instances i USING looked l WHERE i.id = l.id AND l.outcome = 'DONE'
    )
    SELECT l.id, l.outcome FROM looked l ORDER BY l.id;
END
$$;
COMMENT ON FUNCTION remove_instances IS
    'Deletes TERMINATING instances that the caller knows to be gone. DONE, WRONG_STATE, UNKNOWN, '
    'or FENCED.';

CREATE OR REPLACE FUNCTION note_missing(region text, version bigint, missing jsonb, present jsonb)
RETURNS SETOF write_results
LANGUAGE plpgsql AS $$
BEGIN
    IF internal.fenced(note_missing.region, note_missing.version) THEN
        RETURN QUERY SELECT note_missing.region, 'FENCED';
        RETURN;
    END IF;
    -- Locks only rows that change. Assigning skips a locked instance, and most of a
    -- listing has not changed.
    RETURN QUERY
    WITH given AS (
        -- An id in both lists counts as present: a wrong "missing" would begin a removal.
        SELECT g.id, bool_and(g.gone) AS gone FROM (
            SELECT jsonb_array_elements_text(coalesce(note_missing.missing, '[]')) AS id, true AS gone
            UNION ALL
            SELECT jsonb_array_elements_text(coalesce(note_missing.present, '[]')), false
        ) g GROUP BY g.id
    ), locked AS (
        SELECT i.id, g.gone FROM instances i JOIN given g ON g.id = i.id
        WHERE i.region = note_missing.region AND (i.missing_since IS NULL) = g.gone
        ORDER BY i.id FOR UPDATE OF i
    ), changed AS (
        UPDATE instances i SET missing_since = CASE WHEN l.gone THEN now() END
        FROM locked l WHERE i.id = l.id
        RETURNING i.id
    )
    SELECT g.id, CASE
            WHEN i.id IS NULL THEN 'UNKNOWN'
            WHEN c.id IS NULL THEN 'ALREADY'
            ELSE 'DONE'
        END
    FROM given g
    LEFT JOIN instances i ON i.id = g.id AND i.region = note_missing.region
    LEFT JOIN changed c ON c.id = g.id
    ORDER BY g.id;
END
$$;
COMMENT ON FUNCTION note_missing IS
    'Records since when instances are missing from listings, or that they are listed again. '
    'DONE, ALREADY, UNKNOWN, or FENCED.';

CREATE OR REPLACE FUNCTION release_unclaimed(region text, version bigint) RETURNS SETOF write_results
LANGUAGE plpgsql AS $$
DECLARE
    unclaimed_before timestamptz;
BEGIN
    IF internal.fenced(release_unclaimed.region, release_unclaimed.version) THEN
        RETURN QUERY SELECT release_unclaimed.region, 'FENCED';
        RETURN;
    END IF;
    SELECT now() - make_interval(secs => r.claim_seconds) INTO unclaimed_before
    FROM regions r WHERE r.name = release_unclaimed.region;
    -- A shared lock: the instances do not change, and assigning their other slots must
    -- stay possible.
    PERFORM i.id FROM instances i
    WHERE i.id IN (SELECT s.instance_id FROM slots s
        WHERE s.region = release_unclaimed.region AND s.status = 'ALLOCATED'
            AND s.allocated_at < unclaimed_before)
    ORDER BY i.id FOR SHARE;
    RETURN QUERY
    WITH unclaimed AS (
        SELECT s.id FROM slots s
        WHERE s.region = release_unclaimed.region AND s.status = 'ALLOCATED'
            AND s.allocated_at < unclaimed_before
        ORDER BY s.id FOR UPDATE
    ), released AS (
        UPDATE slots s
        SET status = 'WAITING', user_id = NULL, session_id = NULL, allocated_at = NULL
        FROM unclaimed u WHERE s.id = u.id
        RETURNING s.id
    )
    SELECT r.id::text, 'DONE' FROM released r ORDER BY r.id;
END
$$;
COMMENT ON FUNCTION release_unclaimed IS
    'Frees slots that were not claimed within the region''s claim_seconds. One row per slot, or '
    'FENCED.';

CREATE OR REPLACE FUNCTION move_image(region text, version bigint, image_id text, from_state text,
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

CREATE OR REPLACE FUNCTION give_notice(instance_id text, notice text) RETURNS SETOF write_results
LANGUAGE plpgsql AS $$
DECLARE
    host instances;
BEGIN
    IF coalesce(give_notice.notice, '') NOT IN ('REBALANCE', 'INTERRUPTION') THEN
        RAISE EXCEPTION 'give_notice: notice must be REBALANCE or INTERRUPTION, not %',
            coalesce(give_notice.notice, 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT i.* INTO host FROM instances i WHERE i.id = give_notice.instance_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT give_notice.instance_id, 'UNKNOWN';
    ELSIF host.status = 'TERMINATING' THEN
        RETURN QUERY SELECT host.id, 'WRONG_STATE';
    ELSIF host.notice = give_notice.notice OR host.notice = 'INTERRUPTION' THEN
        RETURN QUERY SELECT host.id, 'ALREADY';
    ELSE
        UPDATE instances i SET notice = give_notice.notice WHERE i.id = host.id;
        RETURN QUERY SELECT host.id, 'DONE';
    END IF;
END
$$;
COMMENT ON FUNCTION give_notice IS
    'Records a Spot notice: EC2 is about to take an instance. DONE, ALREADY, WRONG_STATE (the '
    'instance is TERMINATING), or UNKNOWN.';

CREATE OR REPLACE FUNCTION doctor() RETURNS SETOF doctor_facts
LANGUAGE sql VOLATILE AS $$
    WITH triggers AS (
        SELECT c.relname || '.' || t.tgname AS name, t.tgenabled = 'D' AS disabled
        FROM pg_trigger t
        JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = 'public'::regnamespace AND t.tgname LIKE 'notify\_hasura\_%'
    )
    SELECT jsonb_build_object(
        'version_num', current_setting('server_version_num')::integer,
        'now', clock_timestamp(),
        'max_connections', current_setting('max_connections')::integer,
        'functions', (
            SELECT coalesce(jsonb_agg(DISTINCT p.proname), '[]') FROM pg_proc p
            WHERE p.pronamespace = 'public'::regnamespace),
        'region_columns', (
            SELECT coalesce(jsonb_agg(a.attname), '[]') FROM pg_attribute a
            WHERE a.attrelid = 'regions'::regclass AND a.attnum > 0 AND NOT a.attisdropped),
        'event_triggers', (SELECT coalesce(jsonb_agg(t.name), '[]') FROM triggers t),
        'disabled_triggers', (
            SELECT coalesce(jsonb_agg(t.name), '[]') FROM triggers t WHERE t.disabled)
    )
$$;
