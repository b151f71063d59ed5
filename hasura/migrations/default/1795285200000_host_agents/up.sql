-- The functions that host agents call. An agent's token has its launch id as a claim,
-- which the engine passes in `hasura_session`. Every function accepts only instances
-- of that launch. For any other instance it answers as for one that does not exist,
-- except that `register_host` answers SHUT_DOWN instead of RETRY.

CREATE TABLE agent_answers (
    instance_id text,
    outcome     text NOT NULL,
    -- The instance's status. DRAINING means: shut down as soon as no slot is occupied.
    status      text,
    CONSTRAINT agent_answers_only_a_shape CHECK (false)
);

CREATE FUNCTION internal.launch_of(session json) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT launch_of.session ->> 'x-hasura-launch-id'
$$;

CREATE FUNCTION internal.beat(instance_id text) RETURNS void
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

CREATE FUNCTION register_host(instance_id text, ip_addr text, hasura_session json)
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
    PERFORM internal.beat(host.id);
    RETURN QUERY SELECT host.id, 'REGISTERED', host.status;
END
$$;
COMMENT ON FUNCTION register_host IS
    'Sets the agent''s instance to ACTIVE, stores its address and creates its slots. '
    'REGISTERED, RETRY (the row does not exist yet), or SHUT_DOWN (the instance is to end, or '
    'belongs to another launch).';

CREATE FUNCTION heartbeat(instance_id text, hasura_session json) RETURNS SETOF agent_answers
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

-- The instance of a slot, if it belongs to the agent's launch. It is locked, so that it
-- cannot be drained or terminated meanwhile.
CREATE FUNCTION internal.own_slot_host(slot_id uuid, session json) RETURNS SETOF instances
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT i.* FROM instances i
    WHERE i.id = (SELECT s.instance_id FROM slots s WHERE s.id = own_slot_host.slot_id)
        AND i.launch_id = internal.launch_of(own_slot_host.session)
    FOR SHARE;
END
$$;

CREATE FUNCTION claim_slot(slot_id uuid, user_id text, session_id text, hasura_session json)
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
COMMENT ON FUNCTION claim_slot IS
    'Moves an ALLOCATED slot to CONNECTING, if it is assigned to this user and session. CLAIMED, or '
    'REFUSED.';

CREATE FUNCTION report_slot(slot_id uuid, status text, hasura_session json)
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
COMMENT ON FUNCTION report_slot IS
    'Sets a claimed slot to RUNNING or DYING. REPORTED, REFUSED (not allowed from its status), or '
    'UNKNOWN.';

CREATE FUNCTION replace_slot(slot_id uuid, hasura_session json) RETURNS SETOF agent_answers
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
COMMENT ON FUNCTION replace_slot IS
    'Deletes a DYING slot and, on an ACTIVE instance, creates a new one. REPLACED, REMOVED (not '
    'ACTIVE, so none is created), REFUSED (not DYING), or UNKNOWN (replaced before).';
