-- The writes of a pass. Every function first locks the region's fence and refuses an
-- older version with the single row (region, FENCED). Conditions that are expected
-- in normal operation are outcomes, never errors.
--
-- Locks are always taken in the same order: the fence, instances by id, slots. An
-- instance is locked in one statement and its slots are read in the next. Under read
-- committed, the second statement sees what a concurrent assign has committed.

CREATE TABLE write_results (
    id      text NOT NULL,
    outcome text NOT NULL,
    CONSTRAINT write_results_only_a_shape CHECK (false)
);

-- Whether the version is too old to write. A writer whose version is newer than the
-- fence raises it: a newer version proves that all older holders lost the lock.
CREATE FUNCTION internal.fenced(region text, version bigint) RETURNS boolean
LANGUAGE sql AS $$
    SELECT coalesce(internal.raise_fence(fenced.region, fenced.version) <> fenced.version, true)
$$;

-- Inserts instances with the given status. Rows that existed before are ALREADY.
CREATE FUNCTION internal.insert_instances(region text, instances jsonb, status text)
RETURNS SETOF write_results
LANGUAGE sql AS $$
    WITH given AS (
        SELECT g.* FROM jsonb_to_recordset(insert_instances.instances) AS g (
            id text, launch_id text, image_id text, client_sha text, instance_type text,
            capacity integer, launched_at timestamptz)
    ), inserted AS (
        INSERT INTO instances AS i (id, region, launch_id, image_id, client_sha, instance_type,
            capacity, status, launched_at)
        SELECT g.id, insert_instances.region, g.launch_id, g.image_id, g.client_sha,
            g.instance_type, g.capacity, insert_instances.status, g.launched_at
        FROM given g ORDER BY g.id
        ON CONFLICT (id) DO NOTHING
        RETURNING i.id
    )
    SELECT g.id, CASE WHEN n.id IS NULL THEN 'ALREADY' ELSE 'DONE' END
    FROM given g LEFT JOIN inserted n ON n.id = g.id
    ORDER BY g.id
$$;

CREATE FUNCTION record_instances(region text, version bigint, instances jsonb)
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

CREATE FUNCTION adopt_orphans(region text, version bigint, instances jsonb)
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

-- Locks those of the ids that are instances of the region, in id order, against
-- assigns and host agents.
CREATE FUNCTION internal.lock_instances(region text, ids jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM i.id FROM instances i
    WHERE i.region = lock_instances.region
        AND i.id IN (SELECT jsonb_array_elements_text(lock_instances.ids))
    ORDER BY i.id FOR UPDATE;
END
$$;

CREATE FUNCTION internal.is_occupied(instance_id text) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM slots s
        WHERE s.instance_id = is_occupied.instance_id AND s.status <> 'WAITING')
$$;

CREATE FUNCTION drain_instances(region text, version bigint, ids jsonb)
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
                -- Users on an instance that EC2 is about to take lose it anyway. Draining
                -- it keeps other users from being assigned to it.
                WHEN i.notice IS NULL AND internal.is_occupied(i.id) THEN 'OCCUPIED'
                ELSE 'DONE'
            END AS outcome
        FROM (SELECT DISTINCT jsonb_array_elements_text(drain_instances.ids) AS id) g
        LEFT JOIN instances i ON i.id = g.id AND i.region = drain_instances.region
    ), changed AS (
        UPDATE instances i SET status = 'DRAINING', draining_since = now()
        FROM looked l WHERE i.id = l.id AND l.outcome = 'DONE'
    )
    SELECT l.id, l.outcome FROM looked l ORDER BY l.id;
END
$$;
COMMENT ON FUNCTION drain_instances IS
    'Drains instances that are empty or that EC2 is about to take: no users are assigned to them '
    'any more. DONE, ALREADY, OCCUPIED, WRONG_STATE, UNKNOWN, or FENCED.';

CREATE FUNCTION terminate_instances(region text, version bigint, ids jsonb, reason text)
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

CREATE FUNCTION remove_instances(region text, version bigint, ids jsonb)
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

CREATE FUNCTION note_missing(region text, version bigint, missing jsonb, present jsonb)
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

CREATE FUNCTION release_unclaimed(region text, version bigint) RETURNS SETOF write_results
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
