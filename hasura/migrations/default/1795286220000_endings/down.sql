-- The functions and the tables as they were before. An instance that drains for its age drains for an
-- operator then.

DROP FUNCTION assign_slot(
    text, text, jsonb, text, integer, text, boolean, integer, integer);
ALTER FUNCTION internal.assign_slot(text, text, jsonb, text, integer, text, boolean)
    SET SCHEMA public;
DROP FUNCTION internal.limit_session(uuid, integer, integer);
DROP FUNCTION internal.held_sessions(text);
ALTER TABLE assign_results DROP COLUMN held;

CREATE OR REPLACE FUNCTION own_instance(instance_id text, hasura_session json)
RETURNS SETOF own_instances
LANGUAGE plpgsql AS $$
DECLARE
    host instances;
    is_told boolean := false;
BEGIN
    LOOP
        SELECT i.* INTO host FROM instances i
        WHERE i.id = own_instance.instance_id AND internal.is_own(i, own_instance.hasura_session);
        IF NOT FOUND THEN
            RETURN;
        END IF;
        EXIT WHEN host.status <> 'DRAINING' OR is_told;
        PERFORM FROM instances i WHERE i.id = host.id AND i.status = 'DRAINING' FOR SHARE;
        IF FOUND THEN
            PERFORM internal.beat(host.id);
            is_told := true;
        END IF;
    END LOOP;
    RETURN QUERY SELECT host.id, host.status, host.notice, coalesce(
        jsonb_agg(jsonb_build_object('id', s.id, 'status', s.status,
            'user_id', s.user_id, 'session_id', s.session_id) ORDER BY s.id), '[]')
    FROM slots s WHERE s.instance_id = host.id;
END
$$;

DROP FUNCTION heartbeat(text, json, jsonb);
DROP TABLE heartbeat_answers;
CREATE OR REPLACE FUNCTION heartbeat(instance_id text, hasura_session json)
RETURNS SETOF agent_answers
LANGUAGE plpgsql AS $$
DECLARE
    host instances;
BEGIN
    PERFORM internal.check_size('heartbeat', 'instance_id', heartbeat.instance_id, 64);
    -- Locks the instance. Either a pass that terminates it as lost sees this heartbeat,
    -- or this heartbeat sees TERMINATING and is answered with SHUT_DOWN.
    SELECT i.* INTO host FROM instances i
    WHERE i.id = heartbeat.instance_id AND internal.is_own(i, heartbeat.hasura_session)
    FOR SHARE;
    IF NOT FOUND OR host.status = 'TERMINATING' THEN
        RETURN QUERY SELECT heartbeat.instance_id, 'SHUT_DOWN', host.status, NULL::text;
        RETURN;
    END IF;
    PERFORM internal.beat(host.id);
    RETURN QUERY SELECT host.id, 'OK', host.status,
        internal.next_token(host.id, heartbeat.hasura_session);
END
$$;
COMMENT ON FUNCTION heartbeat IS
    'Records a heartbeat of the agent''s instance. OK with the instance''s status and the agent''s '
    'next token if there is one, or SHUT_DOWN.';
DROP FUNCTION internal.note_activity(instances, jsonb);
DROP FUNCTION internal.seconds_left(slots);

CREATE OR REPLACE FUNCTION report_slot(slot_id uuid, status text, hasura_session json)
RETURNS SETOF agent_answers
LANGUAGE plpgsql AS $$
DECLARE
    host instances;
    slot slots;
    answer agent_answers;
BEGIN
    SELECT * INTO host FROM internal.own_slot_host(report_slot.slot_id, report_slot.hasura_session);
    answer.instance_id := host.id;
    answer.status := host.status;
    IF host.id IS NULL THEN
        answer.outcome := 'UNKNOWN';
        RETURN NEXT answer;
        RETURN;
    END IF;
    UPDATE slots s SET status = report_slot.status
    WHERE s.id = report_slot.slot_id AND CASE report_slot.status
        WHEN 'RUNNING' THEN s.status = 'CONNECTING'
        WHEN 'DYING' THEN s.status IN ('CONNECTING', 'RUNNING')
        ELSE false END
    RETURNING s.* INTO slot;
    IF slot.status = 'DYING' THEN
        PERFORM internal.session_ended(host, slot.user_id, slot.claimed_at);
    END IF;
    IF slot.id IS NOT NULL OR (report_slot.status IN ('RUNNING', 'DYING') AND EXISTS (
        SELECT FROM slots s WHERE s.id = report_slot.slot_id AND s.status = report_slot.status))
    THEN
        answer.outcome := 'REPORTED';
    ELSE
        answer.outcome := 'REFUSED';
    END IF;
    RETURN NEXT answer;
END
$$;

DROP FUNCTION end_session(text, text);
DROP FUNCTION end_own_session(text, text);
DROP FUNCTION internal.end_session(text, text, text);

CREATE OR REPLACE FUNCTION terminate_instances(
    region text, version bigint, ids jsonb, reason text)
RETURNS SETOF write_results
LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$
DECLARE
    given CONSTANT text[] := internal.ids_of(terminate_instances.ids);
    locked text[];
    results write_results[];
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
    locked := internal.try_lock_slots(
        internal.try_lock_instances(terminate_instances.region, given));
    results := ARRAY(
        SELECT ROW(g.id, CASE
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
                WHEN i.id <> ALL (locked) THEN 'BUSY'
                ELSE 'DONE'
            END)::write_results
        FROM unnest(given) AS g (id)
        LEFT JOIN instances i ON i.id = g.id AND i.region = terminate_instances.region
        LEFT JOIN regions r ON r.name = i.region
        LEFT JOIN heartbeats h ON h.instance_id = i.id
        ORDER BY g.id);
    UPDATE instances i SET status = 'TERMINATING'
    FROM unnest(results) r WHERE i.id = r.id AND r.outcome = 'DONE';
    -- The sessions ended with their instance. DYING slots let their users be assigned
    -- again, and a repeated request does not return the dead address.
    UPDATE slots s SET status = 'DYING'
    FROM unnest(results) r WHERE s.instance_id = r.id AND r.outcome = 'DONE'
        AND s.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING');
    RETURN QUERY SELECT * FROM unnest(results);
EXCEPTION WHEN lock_not_available THEN
    RETURN QUERY SELECT * FROM internal.all_busy(given);
END
$$;
COMMENT ON FUNCTION terminate_instances IS
    'Sets instances to TERMINATING because they are EMPTY, LOST (no heartbeat), MISSING from '
    'listings, or GONE from EC2. DONE, ALREADY, OCCUPIED, ALIVE, WRONG_STATE, UNKNOWN, BUSY, or '
    'FENCED.';

CREATE OR REPLACE FUNCTION drain_instances(region text, version bigint, ids jsonb, cause text)
RETURNS SETOF write_results
LANGUAGE plpgsql
SET lock_timeout = '500ms'
AS $$
DECLARE
    given CONSTANT text[] := internal.ids_of(drain_instances.ids);
    locked text[];
    results write_results[];
BEGIN
    IF internal.fenced(drain_instances.region, drain_instances.version) THEN
        RETURN QUERY SELECT drain_instances.region, 'FENCED';
        RETURN;
    END IF;
    locked := internal.try_lock_slots(internal.try_lock_instances(drain_instances.region, given));
    results := ARRAY(
        SELECT ROW(g.id, CASE
                WHEN i.id IS NULL THEN 'UNKNOWN'
                WHEN i.status = 'DRAINING' THEN 'ALREADY'
                WHEN i.status = 'TERMINATING' THEN 'WRONG_STATE'
                WHEN NOT u.may_stay AND internal.is_occupied(i.id) THEN 'OCCUPIED'
                WHEN i.id <> ALL (locked) THEN 'BUSY'
                ELSE 'DONE'
            END)::write_results
        FROM unnest(given) AS g (id)
        LEFT JOIN instances i ON i.id = g.id AND i.region = drain_instances.region
        -- Users on an instance that EC2 is about to take lose it anyway, and those on a suspect stay.
        -- Draining it keeps other users from being assigned to it.
        CROSS JOIN LATERAL (SELECT i.notice IS NOT NULL
            OR drain_instances.cause IS NOT DISTINCT FROM 'SUSPECT' AS may_stay) u
        ORDER BY g.id);
    UPDATE instances i SET status = 'DRAINING', draining_since = internal.clock(),
        drain_cause = drain_instances.cause
    FROM unnest(results) r WHERE i.id = r.id AND r.outcome = 'DONE';
    RETURN QUERY SELECT * FROM unnest(results);
EXCEPTION WHEN lock_not_available THEN
    RETURN QUERY SELECT * FROM internal.all_busy(given);
END
$$;

DROP FUNCTION mark_ends(text, bigint);

ALTER TABLE instance_views
    DROP COLUMN ends_due, DROP COLUMN ends_overdue, DROP COLUMN slots_dying;
CREATE OR REPLACE FUNCTION observe_instances(region text, after_id text, page_size integer)
RETURNS SETOF instance_views
LANGUAGE sql VOLATILE AS $$
    SELECT i.id, i.launch_id, i.image_id, i.client_sha, i.instance_type, i.capacity, i.ip_addr,
        i.status, i.launched_at, i.active_at, i.draining_since, i.missing_since, h.beat_at,
        h.resumed_at, i.notice,
        s.waiting, s.occupied, s.unclaimed,
        i.subnet_id, i.spot, i.drain_cause, i.leave_reason,
        t.key_id, t.valid_until, CASE WHEN t.taken_at IS NULL THEN t.renewed_at END,
        host(i.private_ip), host(i.public_ip),
        CASE WHEN r.quick_end_seconds > 0 THEN coalesce(cardinality(e.quick_users), 0) ELSE 0 END,
        CASE WHEN r.quick_end_seconds > 0 THEN f.unclaimed ELSE 0 END,
        s.lives OR coalesce(e.lived_at > now() - interval '1 hour', false)
    FROM regions r
    JOIN instances i ON i.region = r.name
    LEFT JOIN heartbeats h ON h.instance_id = i.id
    LEFT JOIN internal.agent_tokens t ON t.instance_id = i.id
    LEFT JOIN internal.session_ends e ON e.instance_id = i.id
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE internal.is_free(s.status, s.free_from))::integer AS waiting,
            count(*) FILTER (WHERE s.status <> 'WAITING')::integer AS occupied,
            count(*) FILTER (WHERE s.status = 'ALLOCATED'
                AND s.allocated_at < now() - make_interval(secs => r.claim_seconds))::integer
                AS unclaimed,
            coalesce(bool_or(s.status = 'RUNNING'
                AND s.claimed_at <= now() - make_interval(secs => r.quick_end_seconds)), false)
                AS lives,
            max(s.claimed_at) AS claimed_at
        FROM slots s WHERE s.instance_id = i.id
    ) s
    CROSS JOIN LATERAL (
        SELECT count(DISTINCT f.user_id)::integer AS unclaimed FROM internal.failed_sessions f
        WHERE f.instance_id = i.id AND NOT f.claimed
            AND f.failed_at > greatest(e.ended_at, s.claimed_at, now() - interval '1 hour')
    ) f
    WHERE r.name = observe_instances.region AND i.id > coalesce(observe_instances.after_id, '')
    ORDER BY i.id
    LIMIT greatest(observe_instances.page_size, 1)
$$;

DROP FUNCTION internal.is_past_deadline(instances, regions);
DROP FUNCTION internal.is_overdue(slots, regions);
DROP FUNCTION internal.is_end_due(slots, instances, regions);
DROP FUNCTION internal.drain_end(instances, regions);
DROP FUNCTION internal.idle_end(slots, regions);
DROP FUNCTION internal.longest_end(slots, regions);

CREATE OR REPLACE FUNCTION internal.slot_is_released() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    at CONSTANT timestamptz := internal.clock();
    claim interval;
    rule_applies boolean;
BEGIN
    SELECT make_interval(secs => r.claim_seconds), r.quick_end_seconds > 0 INTO claim, rule_applies
    FROM regions r WHERE r.name = OLD.region;
    IF OLD.allocated_at + claim <= at THEN
        PERFORM internal.note_failed_session(OLD.user_id, OLD.instance_id, false, at,
            CASE WHEN OLD.first_allocated_at + 3 * claim <= at THEN at + claim END);
        IF rule_applies THEN
            NEW.free_from := at;
        END IF;
    END IF;
    NEW.first_allocated_at := NULL;
    NEW.waited_seconds := 0;
    RETURN NEW;
END
$$;

ALTER TABLE slots
    DROP COLUMN end_cause, DROP COLUMN end_by, DROP COLUMN max_session_seconds,
    DROP COLUMN max_idle_seconds, DROP COLUMN user_active_at;
UPDATE instances SET drain_cause = 'OPERATOR' WHERE drain_cause = 'MAX_AGE';
ALTER TABLE instances
    DROP CONSTRAINT instances_drain_cause_known,
    ADD CONSTRAINT instances_drain_cause_known CHECK (drain_cause IN ('SURPLUS', 'MAXIMUM', 'ROOM',
        'IMAGE', 'TOKEN', 'NOTICE', 'AGENT', 'SUSPECT',
        'OPERATOR', 'REVOKED'));
ALTER TABLE regions
    DROP COLUMN max_session_seconds, DROP COLUMN max_idle_seconds, DROP COLUMN end_warning_seconds,
    DROP COLUMN drain_deadline_seconds, DROP COLUMN max_age_seconds;
