-- Back to the functions and columns before. A revoked instance stays DRAINING.

ALTER TABLE regions
    DROP CONSTRAINT regions_user_data_template_has_known_placeholders,
    DROP CONSTRAINT regions_user_data_template_of_replicas_has_no_token,
    ADD CONSTRAINT regions_user_data_template_has_known_placeholders
        CHECK (replace(user_data_template, '$${', '') !~
            '\$\{(?!(REGION|LAUNCH_ID|CAPACITY|CLIENT_SHA|HASURA_URL|AGENT_TOKEN)\})')
        NOT VALID,
    ADD CONSTRAINT regions_user_data_template_of_replicas_has_no_token
        CHECK (algorithm <> 'replica'
            OR replace(user_data_template, '$${', '') !~ '\$\{(HASURA_URL|AGENT_TOKEN)\}')
        NOT VALID;

DROP FUNCTION renew_tokens(text, bigint, jsonb);
DROP FUNCTION revoke_agent(text);
DROP FUNCTION own_instance(text, json);
DROP TABLE own_instances;

ALTER TABLE instance_views DROP COLUMN token_key_id, DROP COLUMN token_valid_until,
    DROP COLUMN token_untaken_since;

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

ALTER TABLE agent_answers DROP COLUMN token;

CREATE FUNCTION internal.launch_of(session json) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT launch_of.session ->> 'x-hasura-launch-id'
$$;

CREATE OR REPLACE FUNCTION register_host(instance_id text, ip_addr text, hasura_session json)
RETURNS SETOF agent_answers
LANGUAGE plpgsql AS $$
DECLARE
    host instances;
BEGIN
    SELECT i.* INTO host FROM instances i WHERE i.id = register_host.instance_id FOR UPDATE;
    IF NOT FOUND THEN
        -- The instance was just launched, and the pass has not inserted its row yet.
        RETURN QUERY SELECT register_host.instance_id, 'RETRY', NULL::text;
        RETURN;
    END IF;
    IF host.launch_id IS DISTINCT FROM internal.launch_of(register_host.hasura_session) THEN
        RETURN QUERY SELECT register_host.instance_id, 'SHUT_DOWN', NULL::text;
        RETURN;
    END IF;
    IF host.status = 'TERMINATING' OR (host.status = 'DRAINING' AND host.active_at IS NULL) THEN
        RETURN QUERY SELECT host.id, 'SHUT_DOWN', host.status;
        RETURN;
    END IF;
    IF host.status = 'PRE_CONNECTION' THEN
        UPDATE instances i
        SET status = 'ACTIVE', active_at = now(), ip_addr = register_host.ip_addr
        WHERE i.id = host.id
        RETURNING i.* INTO host;
        INSERT INTO slots (instance_id) SELECT host.id FROM generate_series(1, host.capacity);
    END IF;
    UPDATE instances i SET leave_reason = NULL
    WHERE i.id = host.id AND i.status = 'ACTIVE' AND i.leave_reason IS NOT NULL;
    PERFORM internal.beat(host.id);
    RETURN QUERY SELECT host.id, 'REGISTERED', host.status;
END
$$;
COMMENT ON FUNCTION register_host IS
    'Sets the agent''s instance to ACTIVE, stores its address and creates its slots. '
    'REGISTERED, RETRY (the row does not exist yet), or SHUT_DOWN (the instance is to end, or '
    'belongs to another launch).';

CREATE OR REPLACE FUNCTION heartbeat(instance_id text, hasura_session json) RETURNS SETOF agent_answers
LANGUAGE plpgsql AS $$
DECLARE
    current_status text;
BEGIN
    -- Locks the instance. Either a pass that terminates it as lost sees this heartbeat,
    -- or this heartbeat sees TERMINATING and is answered with SHUT_DOWN.
    SELECT i.status INTO current_status FROM instances i
    WHERE i.id = heartbeat.instance_id
        AND i.launch_id = internal.launch_of(heartbeat.hasura_session)
    FOR SHARE;
    IF current_status IS NULL OR current_status = 'TERMINATING' THEN
        RETURN QUERY SELECT heartbeat.instance_id, 'SHUT_DOWN', current_status;
        RETURN;
    END IF;
    PERFORM internal.beat(heartbeat.instance_id);
    RETURN QUERY SELECT heartbeat.instance_id, 'OK', current_status;
END
$$;
COMMENT ON FUNCTION heartbeat IS
    'Records a heartbeat of the agent''s instance. OK with the instance''s status, or SHUT_DOWN.';

CREATE OR REPLACE FUNCTION leave_host(instance_id text, reason text, hasura_session json)
RETURNS SETOF agent_answers
LANGUAGE plpgsql AS $$
DECLARE
    -- For logs and pages: one line, and not too long.
    said CONSTANT text := left(btrim(regexp_replace(
        coalesce(leave_host.reason, ''), '[[:cntrl:]]+', ' ', 'g')), 500);
    host instances;
BEGIN
    IF said = '' THEN
        RAISE EXCEPTION 'leave_host: reason must say why the instance cannot serve users'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Serialises the region's leaves, so that counting them is free of races. Before the
    -- instance, which all others lock first.
    PERFORM pg_advisory_xact_lock(hashtextextended('leave_host ' || i.region, 0))
    FROM instances i WHERE i.id = leave_host.instance_id;
    SELECT i.* INTO host FROM instances i WHERE i.id = leave_host.instance_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT leave_host.instance_id, 'RETRY', NULL::text;
        RETURN;
    END IF;
    IF host.launch_id IS DISTINCT FROM internal.launch_of(leave_host.hasura_session) THEN
        RETURN QUERY SELECT leave_host.instance_id, 'SHUT_DOWN', NULL::text;
        RETURN;
    END IF;
    IF host.status = 'TERMINATING' THEN
        RETURN QUERY SELECT host.id, 'SHUT_DOWN', host.status;
        RETURN;
    END IF;
    IF host.status <> 'DRAINING' AND (
        SELECT count(*) FROM internal.host_leaves l
        WHERE l.region = host.region AND l.at > now() - interval '1 hour'
    ) >= internal.leave_limit(host.region) THEN
        UPDATE instances i SET leave_reason = said
        WHERE i.id = host.id AND i.leave_reason IS DISTINCT FROM said;
        RETURN QUERY SELECT host.id, 'HELD', host.status;
        RETURN;
    END IF;
    IF host.status = 'DRAINING' THEN
        UPDATE instances i SET leave_reason = said
        WHERE i.id = host.id AND i.leave_reason IS DISTINCT FROM said;
    ELSE
        UPDATE instances i SET status = 'DRAINING', draining_since = now(), drain_cause = 'AGENT',
            leave_reason = said
        WHERE i.id = host.id;
        DELETE FROM internal.host_leaves l
        WHERE l.region = host.region AND l.at <= now() - interval '1 hour';
        INSERT INTO internal.host_leaves (instance_id, region, at)
        VALUES (host.id, host.region, now());
    END IF;
    RETURN QUERY SELECT host.id, 'LEAVING', 'DRAINING';
END
$$;

CREATE OR REPLACE FUNCTION internal.own_slot_host(slot_id uuid, session json) RETURNS SETOF instances
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT i.* FROM instances i
    WHERE i.id = (SELECT s.instance_id FROM slots s WHERE s.id = own_slot_host.slot_id)
        AND i.launch_id = internal.launch_of(own_slot_host.session)
    FOR SHARE;
END
$$;

CREATE OR REPLACE FUNCTION claim_slot(slot_id uuid, user_id text, session_id text, hasura_session json)
RETURNS SETOF agent_answers
LANGUAGE plpgsql AS $$
DECLARE
    host instances;
    claimed boolean;
BEGIN
    SELECT * INTO host FROM internal.own_slot_host(claim_slot.slot_id, claim_slot.hasura_session);
    IF NOT FOUND OR host.status = 'TERMINATING' THEN
        RETURN QUERY SELECT host.id, 'REFUSED', host.status;
        RETURN;
    END IF;
    UPDATE slots s SET status = 'CONNECTING'
    WHERE s.id = claim_slot.slot_id AND s.status = 'ALLOCATED'
        AND s.user_id = claim_slot.user_id AND s.session_id = claim_slot.session_id;
    -- A repeated claim by the same user and session succeeds: the first answer was lost.
    claimed := FOUND OR EXISTS (SELECT FROM slots s
        WHERE s.id = claim_slot.slot_id AND s.status IN ('CONNECTING', 'RUNNING')
            AND s.user_id = claim_slot.user_id AND s.session_id = claim_slot.session_id);
    RETURN QUERY SELECT host.id, CASE WHEN claimed THEN 'CLAIMED' ELSE 'REFUSED' END, host.status;
END
$$;

CREATE OR REPLACE FUNCTION report_slot(slot_id uuid, status text, hasura_session json)
RETURNS SETOF agent_answers
LANGUAGE plpgsql AS $$
DECLARE
    host instances;
    reported boolean;
BEGIN
    SELECT * INTO host FROM internal.own_slot_host(report_slot.slot_id, report_slot.hasura_session);
    IF NOT FOUND THEN
        RETURN QUERY SELECT NULL::text, 'UNKNOWN', NULL::text;
        RETURN;
    END IF;
    UPDATE slots s SET status = report_slot.status
    WHERE s.id = report_slot.slot_id AND CASE report_slot.status
        WHEN 'RUNNING' THEN s.status = 'CONNECTING'
        WHEN 'DYING' THEN s.status IN ('CONNECTING', 'RUNNING')
        ELSE false END;
    reported := FOUND OR (report_slot.status IN ('RUNNING', 'DYING') AND EXISTS (
        SELECT FROM slots s WHERE s.id = report_slot.slot_id AND s.status = report_slot.status));
    RETURN QUERY SELECT host.id, CASE WHEN reported THEN 'REPORTED' ELSE 'REFUSED' END, host.status;
END
$$;

CREATE OR REPLACE FUNCTION replace_slot(slot_id uuid, hasura_session json) RETURNS SETOF agent_answers
LANGUAGE plpgsql AS $$
DECLARE
    host instances;
BEGIN
    SELECT * INTO host
    FROM internal.own_slot_host(replace_slot.slot_id, replace_slot.hasura_session);
    IF NOT FOUND THEN
        RETURN QUERY SELECT NULL::text, 'UNKNOWN', NULL::text;
        RETURN;
    END IF;
    DELETE FROM slots s WHERE s.id = replace_slot.slot_id AND s.status = 'DYING';
    IF NOT FOUND THEN
        RETURN QUERY SELECT host.id, 'REFUSED', host.status;
        RETURN;
    END IF;
    IF host.status <> 'ACTIVE' THEN
        RETURN QUERY SELECT host.id, 'REMOVED', host.status;
        RETURN;
    END IF;
    INSERT INTO slots (instance_id) VALUES (host.id);
    RETURN QUERY SELECT host.id, 'REPLACED', host.status;
END
$$;

DROP FUNCTION internal.next_token(text, json);
DROP FUNCTION internal.is_own(instances, json);
DROP TABLE internal.agent_tokens;

UPDATE instances SET drain_cause = 'OPERATOR' WHERE drain_cause = 'REVOKED';
ALTER TABLE instances
    DROP COLUMN revoked_at,
    DROP CONSTRAINT instances_drain_cause_known,
    ADD CONSTRAINT instances_drain_cause_known CHECK (drain_cause IN
        ('SURPLUS', 'MAXIMUM', 'ROOM', 'IMAGE', 'TOKEN', 'NOTICE', 'AGENT', 'OPERATOR'));
