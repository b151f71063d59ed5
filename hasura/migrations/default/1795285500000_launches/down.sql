-- Back to the functions and columns before.

DROP FUNCTION reopen_instances(text, bigint, jsonb);
DROP FUNCTION drain_instances(text, bigint, jsonb, text);

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

ALTER TABLE instance_views DROP COLUMN subnet_id, DROP COLUMN spot, DROP COLUMN drain_cause,
    DROP COLUMN leave_reason;

CREATE OR REPLACE FUNCTION observe_instances(region text, after_id text, page_size integer)
RETURNS SETOF instance_views
LANGUAGE sql VOLATILE AS $$
    SELECT i.id, i.launch_id, i.image_id, i.client_sha, i.instance_type, i.capacity, i.ip_addr,
        i.status, i.launched_at, i.active_at, i.draining_since, i.missing_since, h.beat_at,
        h.resumed_at, i.notice,
        s.waiting, s.occupied, s.unclaimed
    FROM regions r
    JOIN instances i ON i.region = r.name
    LEFT JOIN heartbeats h ON h.instance_id = i.id
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE s.status = 'WAITING')::integer AS waiting,
            count(*) FILTER (WHERE s.status <> 'WAITING')::integer AS occupied,
            count(*) FILTER (WHERE s.status = 'ALLOCATED'
                AND s.allocated_at < now() - make_interval(secs => r.claim_seconds))::integer
                AS unclaimed
        FROM slots s WHERE s.instance_id = i.id
    ) s
    WHERE r.name = observe_instances.region AND i.id > coalesce(observe_instances.after_id, '')
    ORDER BY i.id
    LIMIT greatest(observe_instances.page_size, 1)
$$;

CREATE OR REPLACE FUNCTION internal.insert_instances(region text, instances jsonb, status text)
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

CREATE OR REPLACE FUNCTION internal.beat(instance_id text) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO heartbeats AS h (instance_id, beat_at) VALUES (beat.instance_id, now())
    ON CONFLICT (instance_id) DO UPDATE SET
        beat_at = greatest(h.beat_at, excluded.beat_at),
        resumed_at = CASE WHEN h.beat_at < now() - (
                SELECT make_interval(secs => r.heartbeat_seconds)
                FROM instances i JOIN regions r ON r.name = i.region
                WHERE i.id = h.instance_id)
            THEN now() ELSE h.resumed_at END
$$;

CREATE OR REPLACE FUNCTION internal.instance_states_go_forward() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    states CONSTANT text[] := ARRAY['PRE_CONNECTION', 'ACTIVE', 'DRAINING', 'TERMINATING'];
BEGIN
    IF array_position(states, NEW.status) < array_position(states, OLD.status) THEN
        RAISE EXCEPTION 'instance %: status cannot change from % to %',
            OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'instances_states_go_forward',
                TABLE = 'instances';
    END IF;
    -- Row permissions of host agents depend on launch_id, and slots have a copy of
    -- the region.
    IF NEW.id <> OLD.id OR NEW.region <> OLD.region OR NEW.launch_id <> OLD.launch_id THEN
        RAISE EXCEPTION 'instance %: id, region and launch_id cannot be changed', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'instances_identity_is_fixed',
                TABLE = 'instances';
    END IF;
    RETURN NEW;
END
$$;

DROP FUNCTION internal.clock();

ALTER TABLE regions DROP COLUMN launches_per_hour;
ALTER TABLE instances DROP COLUMN subnet_id, DROP COLUMN spot, DROP COLUMN drain_cause,
    DROP COLUMN leave_reason;
