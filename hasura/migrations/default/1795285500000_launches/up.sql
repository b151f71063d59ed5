-- What an instance was launched with, why it drains, and the way back from a drain that
-- nobody needs any more.

-- EC2's capacity is counted by instance type, subnet and market. A launch choice whose
-- instances do not live rests for a while. Null in rows of an earlier version.
ALTER TABLE instances
    ADD COLUMN subnet_id text,
    ADD COLUMN spot boolean,
    -- Why the instance drains. Only a drain for SURPLUS may be taken back.
    ADD COLUMN drain_cause text,
    -- What its agent said when it took the instance out of service.
    ADD COLUMN leave_reason text,
    ADD CONSTRAINT instances_drain_cause_known CHECK (drain_cause IN
        ('SURPLUS', 'MAXIMUM', 'ROOM', 'IMAGE', 'TOKEN', 'NOTICE', 'AGENT', 'OPERATOR'));

-- A bound on what is launched in an hour, whatever goes wrong. Null: twice max_instances, and 20.
ALTER TABLE regions
    ADD COLUMN launches_per_hour integer,
    ADD CONSTRAINT regions_launches_per_hour_not_negative CHECK (launches_per_hour >= 0);
COMMENT ON COLUMN regions.launches_per_hour IS
    'maximum number of instances launched within an hour; 0 means no limit';

-- The time now, where the start of the transaction is too early: after a wait for a lock.
CREATE FUNCTION internal.clock() RETURNS timestamptz
LANGUAGE sql VOLATILE AS $$
    SELECT clock_timestamp()
$$;

CREATE OR REPLACE FUNCTION internal.insert_instances(region text, instances jsonb, status text)
RETURNS SETOF write_results
LANGUAGE sql AS $$
    WITH given AS (
        SELECT g.* FROM jsonb_to_recordset(insert_instances.instances) AS g (
            id text, launch_id text, image_id text, client_sha text, instance_type text,
            subnet_id text, spot boolean, capacity integer, launched_at timestamptz)
    ), inserted AS (
        INSERT INTO instances AS i (id, region, launch_id, image_id, client_sha, instance_type,
            subnet_id, spot, capacity, status, launched_at)
        SELECT g.id, insert_instances.region, g.launch_id, g.image_id, g.client_sha,
            g.instance_type, g.subnet_id, g.spot, g.capacity, insert_instances.status,
            g.launched_at
        FROM given g ORDER BY g.id
        ON CONFLICT (id) DO NOTHING
        RETURNING i.id
    )
    SELECT g.id, CASE WHEN n.id IS NULL THEN 'ALREADY' ELSE 'DONE' END
    FROM given g LEFT JOIN inserted n ON n.id = g.id
    ORDER BY g.id
$$;

-- States move forward, but for one step: a drain for SURPLUS may be taken back, by
-- `reopen_instances`. A status that somebody sets by hand gets its time and its cause here.
CREATE OR REPLACE FUNCTION internal.instance_states_go_forward() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    states CONSTANT text[] := ARRAY['PRE_CONNECTION', 'ACTIVE', 'DRAINING', 'TERMINATING'];
BEGIN
    IF array_position(states, NEW.status) < array_position(states, OLD.status)
        AND NOT (OLD.status = 'DRAINING' AND NEW.status = 'ACTIVE'
            AND OLD.drain_cause = 'SURPLUS' AND NEW.drain_cause IS NULL)
    THEN
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
    IF NEW.status = 'DRAINING' AND OLD.status <> 'DRAINING' THEN
        NEW.draining_since := coalesce(NEW.draining_since, internal.clock());
        NEW.drain_cause := coalesce(NEW.drain_cause, 'OPERATOR');
    END IF;
    RETURN NEW;
END
$$;

-- The time is taken after the caller has locked the instance, so that a heartbeat which was
-- answered with DRAINING is never older than the drain.
CREATE OR REPLACE FUNCTION internal.beat(instance_id text) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO heartbeats AS h (instance_id, beat_at) VALUES (beat.instance_id, internal.clock())
    ON CONFLICT (instance_id) DO UPDATE SET
        beat_at = greatest(h.beat_at, excluded.beat_at),
        resumed_at = CASE WHEN h.beat_at < now() - (
                SELECT make_interval(secs => r.heartbeat_seconds)
                FROM instances i JOIN regions r ON r.name = i.region
                WHERE i.id = h.instance_id)
            THEN now() ELSE h.resumed_at END
$$;

DROP FUNCTION drain_instances(text, bigint, jsonb);
CREATE FUNCTION drain_instances(region text, version bigint, ids jsonb, cause text)
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
        UPDATE instances i SET status = 'DRAINING', draining_since = internal.clock(),
            drain_cause = drain_instances.cause
        FROM looked l WHERE i.id = l.id AND l.outcome = 'DONE'
    )
    SELECT l.id, l.outcome FROM looked l ORDER BY l.id;
END
$$;
COMMENT ON FUNCTION drain_instances IS
    'Drains instances that are empty or that EC2 is about to take: no users are assigned to them '
    'any more. DONE, ALREADY, OCCUPIED, WRONG_STATE, UNKNOWN, or FENCED.';

-- Takes back drains for surplus. An agent that was told of the drain may be shutting its
-- instance down already, so its heartbeat must be older than the drain, and yet fresh.
CREATE FUNCTION reopen_instances(region text, version bigint, ids jsonb)
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

ALTER TABLE instance_views
    ADD COLUMN subnet_id text,
    ADD COLUMN spot boolean,
    ADD COLUMN drain_cause text,
    ADD COLUMN leave_reason text;

CREATE OR REPLACE FUNCTION observe_instances(region text, after_id text, page_size integer)
RETURNS SETOF instance_views
LANGUAGE sql VOLATILE AS $$
    SELECT i.id, i.launch_id, i.image_id, i.client_sha, i.instance_type, i.capacity, i.ip_addr,
        i.status, i.launched_at, i.active_at, i.draining_since, i.missing_since, h.beat_at,
        h.resumed_at, i.notice,
        s.waiting, s.occupied, s.unclaimed,
        i.subnet_id, i.spot, i.drain_cause, i.leave_reason
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
