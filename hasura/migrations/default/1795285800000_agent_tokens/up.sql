-- A credential for each instance: an operator can revoke it, and passes renew it while the
-- instance lives.
--
-- A launch launches one instance, so the claim `x-hasura-launch-id` names one instance. Rows
-- of an earlier version may share a launch; their agents share their rights until they end.

ALTER TABLE instances
    -- When an operator took the rights of the instance's agent away.
    ADD COLUMN revoked_at timestamptz,
    -- TOKEN: a drain of an earlier version.
    DROP CONSTRAINT instances_drain_cause_known,
    ADD CONSTRAINT instances_drain_cause_known CHECK (drain_cause IN
        ('SURPLUS', 'MAXIMUM', 'ROOM', 'IMAGE', 'TOKEN', 'NOTICE', 'AGENT', 'OPERATOR', 'REVOKED'));

-- The newest token of each instance. An instance without a row has the token of its launch.
-- Not in `public`: GraphQL shows tokens to nobody but the instance.
CREATE TABLE internal.agent_tokens (
    instance_id text PRIMARY KEY REFERENCES instances (id) ON DELETE CASCADE,
    token       text NOT NULL,
    -- The token's claim `x-hasura-token-id`.
    token_id    text NOT NULL,
    -- The fingerprint of the key that signed it.
    key_id      text NOT NULL,
    valid_until timestamptz NOT NULL,
    renewed_at  timestamptz NOT NULL,
    -- When the agent first used it. Null until then.
    taken_at    timestamptz
);

-- Whether the agent may act for the instance. Every function for agents decides it here, in
-- the WHERE clause that locks the row: an agent cannot lock a row that is not its own, and a
-- token that is revoked while the row is awaited is refused.
CREATE FUNCTION internal.is_own(host instances, session json) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT coalesce(is_own.host.revoked_at IS NULL
        AND is_own.host.launch_id = is_own.session ->> 'x-hasura-launch-id', false)
$$;

-- The token that the instance's agent is to use from now on. Null if it already does, or if
-- its launch's token has not been renewed.
CREATE FUNCTION internal.next_token(instance_id text, session json) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    newest internal.agent_tokens;
BEGIN
    SELECT t.* INTO newest FROM internal.agent_tokens t
    WHERE t.instance_id = next_token.instance_id;
    IF newest.token_id IS DISTINCT FROM next_token.session ->> 'x-hasura-token-id' THEN
        RETURN newest.token;
    END IF;
    IF newest.taken_at IS NULL THEN
        UPDATE internal.agent_tokens t SET taken_at = internal.clock()
        WHERE t.instance_id = next_token.instance_id AND t.token_id = newest.token_id;
    END IF;
    RETURN NULL;
END
$$;

-- The next token of the agent, in answers of `register_host` and `heartbeat`.
ALTER TABLE agent_answers ADD COLUMN token text;

CREATE OR REPLACE FUNCTION register_host(instance_id text, ip_addr text, hasura_session json)
RETURNS SETOF agent_answers
LANGUAGE plpgsql AS $$
DECLARE
    host instances;
BEGIN
    SELECT i.* INTO host FROM instances i
    WHERE i.id = register_host.instance_id AND internal.is_own(i, register_host.hasura_session)
    FOR UPDATE;
    IF NOT FOUND THEN
        -- Without a row, the instance was just launched, and the pass has not inserted it yet.
        RETURN QUERY SELECT register_host.instance_id, CASE
                WHEN EXISTS (SELECT FROM instances i WHERE i.id = register_host.instance_id)
                THEN 'SHUT_DOWN' ELSE 'RETRY'
            END, NULL::text, NULL::text;
        RETURN;
    END IF;
    IF host.status = 'TERMINATING' OR (host.status = 'DRAINING' AND host.active_at IS NULL) THEN
        RETURN QUERY SELECT host.id, 'SHUT_DOWN', host.status, NULL::text;
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
    RETURN QUERY SELECT host.id, 'REGISTERED', host.status,
        internal.next_token(host.id, register_host.hasura_session);
END
$$;
COMMENT ON FUNCTION register_host IS
    'Sets the agent''s instance to ACTIVE, stores its address and creates its slots. '
    'REGISTERED, with the agent''s next token if there is one, RETRY (the row does not exist yet), '
    'or SHUT_DOWN (the instance is to end, is not the agent''s, or its token is revoked).';

CREATE OR REPLACE FUNCTION heartbeat(instance_id text, hasura_session json)
RETURNS SETOF agent_answers
LANGUAGE plpgsql AS $$
DECLARE
    host instances;
BEGIN
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
    FROM instances i
    WHERE i.id = leave_host.instance_id AND internal.is_own(i, leave_host.hasura_session);
    SELECT i.* INTO host FROM instances i
    WHERE i.id = leave_host.instance_id AND internal.is_own(i, leave_host.hasura_session)
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT leave_host.instance_id, CASE
                WHEN EXISTS (SELECT FROM instances i WHERE i.id = leave_host.instance_id)
                THEN 'SHUT_DOWN' ELSE 'RETRY'
            END, NULL::text, NULL::text;
        RETURN;
    END IF;
    IF host.status = 'TERMINATING' THEN
        RETURN QUERY SELECT host.id, 'SHUT_DOWN', host.status, NULL::text;
        RETURN;
    END IF;
    IF host.status <> 'DRAINING' AND (
        SELECT count(*) FROM internal.host_leaves l
        WHERE l.region = host.region AND l.at > now() - interval '1 hour'
    ) >= internal.leave_limit(host.region) THEN
        UPDATE instances i SET leave_reason = said
        WHERE i.id = host.id AND i.leave_reason IS DISTINCT FROM said;
        RETURN QUERY SELECT host.id, 'HELD', host.status, NULL::text;
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
    RETURN QUERY SELECT host.id, 'LEAVING', 'DRAINING', NULL::text;
END
$$;

-- The instance of a slot, if it is the agent's own. It is locked, so that it cannot be
-- drained or terminated meanwhile.
CREATE OR REPLACE FUNCTION internal.own_slot_host(slot_id uuid, session json)
RETURNS SETOF instances
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT i.* FROM instances i
    WHERE i.id = (SELECT s.instance_id FROM slots s WHERE s.id = own_slot_host.slot_id)
        AND internal.is_own(i, own_slot_host.session)
    FOR SHARE;
END
$$;

-- As before, with the new column of their answers.
CREATE OR REPLACE FUNCTION claim_slot(
    slot_id uuid, user_id text, session_id text, hasura_session json)
RETURNS SETOF agent_answers
LANGUAGE plpgsql AS $$
DECLARE
    host instances;
    claimed boolean;
BEGIN
    SELECT * INTO host FROM internal.own_slot_host(claim_slot.slot_id, claim_slot.hasura_session);
    IF NOT FOUND OR host.status = 'TERMINATING' THEN
        RETURN QUERY SELECT host.id, 'REFUSED', host.status, NULL::text;
        RETURN;
    END IF;
    UPDATE slots s SET status = 'CONNECTING'
    WHERE s.id = claim_slot.slot_id AND s.status = 'ALLOCATED'
        AND s.user_id = claim_slot.user_id AND s.session_id = claim_slot.session_id;
    -- A repeated claim by the same user and session succeeds: the first answer was lost.
    claimed := FOUND OR EXISTS (SELECT FROM slots s
        WHERE s.id = claim_slot.slot_id AND s.status IN ('CONNECTING', 'RUNNING')
            AND s.user_id = claim_slot.user_id AND s.session_id = claim_slot.session_id);
    RETURN QUERY SELECT host.id, CASE WHEN claimed THEN 'CLAIMED' ELSE 'REFUSED' END, host.status,
        NULL::text;
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
        RETURN QUERY SELECT NULL::text, 'UNKNOWN', NULL::text, NULL::text;
        RETURN;
    END IF;
    UPDATE slots s SET status = report_slot.status
    WHERE s.id = report_slot.slot_id AND CASE report_slot.status
        WHEN 'RUNNING' THEN s.status = 'CONNECTING'
        WHEN 'DYING' THEN s.status IN ('CONNECTING', 'RUNNING')
        ELSE false END;
    reported := FOUND OR (report_slot.status IN ('RUNNING', 'DYING') AND EXISTS (
        SELECT FROM slots s WHERE s.id = report_slot.slot_id AND s.status = report_slot.status));
    RETURN QUERY SELECT host.id, CASE WHEN reported THEN 'REPORTED' ELSE 'REFUSED' END, host.status,
        NULL::text;
END
$$;

CREATE OR REPLACE FUNCTION replace_slot(slot_id uuid, hasura_session json)
RETURNS SETOF agent_answers
LANGUAGE plpgsql AS $$
DECLARE
    host instances;
BEGIN
    SELECT * INTO host
    FROM internal.own_slot_host(replace_slot.slot_id, replace_slot.hasura_session);
    IF NOT FOUND THEN
        RETURN QUERY SELECT NULL::text, 'UNKNOWN', NULL::text, NULL::text;
        RETURN;
    END IF;
    DELETE FROM slots s WHERE s.id = replace_slot.slot_id AND s.status = 'DYING';
    IF NOT FOUND THEN
        RETURN QUERY SELECT host.id, 'REFUSED', host.status, NULL::text;
        RETURN;
    END IF;
    IF host.status <> 'ACTIVE' THEN
        RETURN QUERY SELECT host.id, 'REMOVED', host.status, NULL::text;
        RETURN;
    END IF;
    INSERT INTO slots (instance_id) VALUES (host.id);
    RETURN QUERY SELECT host.id, 'REPLACED', host.status, NULL::text;
END
$$;

DROP FUNCTION internal.launch_of(json);

-- What an agent reads: its instance and its slots, from one statement. The role has no
-- permission on tables, so that no query can go from row to row.
CREATE TABLE own_instances (
    id     text NOT NULL,
    status text NOT NULL,
    notice text,
    -- [{"id", "status", "user_id", "session_id"}], by id.
    slots  jsonb NOT NULL,
    CONSTRAINT own_instances_only_a_shape CHECK (false)
);

CREATE FUNCTION own_instance(instance_id text, hasura_session json) RETURNS SETOF own_instances
LANGUAGE sql VOLATILE AS $$
    SELECT i.id, i.status, i.notice, coalesce((
        SELECT jsonb_agg(jsonb_build_object('id', s.id, 'status', s.status,
            'user_id', s.user_id, 'session_id', s.session_id) ORDER BY s.id)
        FROM slots s WHERE s.instance_id = i.id), '[]')
    FROM instances i
    WHERE i.id = own_instance.instance_id
        AND internal.is_own(i, own_instance.hasura_session)
$$;
COMMENT ON FUNCTION own_instance IS
    'The agent''s instance with its slots. No row if there is no such instance or it is not the '
    'agent''s.';

-- For operators. The instance drains, so that no user is assigned to it and it is replaced.
-- Its agent's heartbeats are refused from now on: it ends like one that is lost.
CREATE FUNCTION revoke_agent(instance_id text) RETURNS SETOF write_results
LANGUAGE plpgsql AS $$
DECLARE
    host instances;
BEGIN
    SELECT i.* INTO host FROM instances i WHERE i.id = revoke_agent.instance_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT revoke_agent.instance_id, 'UNKNOWN';
        RETURN;
    END IF;
    IF host.revoked_at IS NOT NULL THEN
        RETURN QUERY SELECT host.id, 'ALREADY';
        RETURN;
    END IF;
    UPDATE instances i SET revoked_at = internal.clock(), drain_cause = 'REVOKED',
        status = CASE WHEN host.status = 'TERMINATING' THEN host.status ELSE 'DRAINING' END
    WHERE i.id = host.id;
    DELETE FROM internal.agent_tokens t WHERE t.instance_id = host.id;
    RETURN QUERY SELECT host.id, 'DONE';
END
$$;
COMMENT ON FUNCTION revoke_agent IS
    'Takes the rights of an instance''s agent away, and drains the instance. DONE, ALREADY, or '
    'UNKNOWN.';

-- An agent can hold its instance's row, and the row of its token. Neither is waited for.
CREATE FUNCTION renew_tokens(region text, version bigint, tokens jsonb)
RETURNS SETOF write_results
LANGUAGE plpgsql AS $$
BEGIN
    IF internal.fenced(renew_tokens.region, renew_tokens.version) THEN
        RETURN QUERY SELECT renew_tokens.region, 'FENCED';
        RETURN;
    END IF;
    RETURN QUERY
    WITH given AS (
        SELECT g.* FROM jsonb_to_recordset(renew_tokens.tokens) AS g (
            id text, token text, token_id text, key_id text, valid_until timestamptz)
    ), hosts AS (
        -- The lock that the foreign key takes.
        SELECT i.id, i.status, i.revoked_at FROM instances i
        WHERE i.region = renew_tokens.region AND i.id IN (SELECT g.id FROM given g)
        ORDER BY i.id FOR KEY SHARE OF i SKIP LOCKED
    ), replaceable AS (
        SELECT t.instance_id FROM internal.agent_tokens t
        WHERE t.instance_id IN (SELECT g.id FROM given g)
        ORDER BY t.instance_id FOR UPDATE OF t SKIP LOCKED
    ), looked AS (
        SELECT g.*, CASE
                WHEN NOT EXISTS (SELECT FROM instances i
                    WHERE i.region = renew_tokens.region AND i.id = g.id) THEN 'UNKNOWN'
                WHEN h.id IS NULL THEN 'BUSY'
                WHEN h.status = 'TERMINATING' OR h.revoked_at IS NOT NULL THEN 'WRONG_STATE'
                WHEN r.instance_id IS NULL AND EXISTS (SELECT FROM internal.agent_tokens t
                    WHERE t.instance_id = g.id) THEN 'BUSY'
                ELSE 'DONE'
            END AS outcome
        FROM given g
        LEFT JOIN hosts h ON h.id = g.id
        LEFT JOIN replaceable r ON r.instance_id = g.id
    ), written AS (
        INSERT INTO internal.agent_tokens AS t
            (instance_id, token, token_id, key_id, valid_until, renewed_at)
        SELECT l.id, l.token, l.token_id, l.key_id, l.valid_until, internal.clock()
        FROM looked l WHERE l.outcome = 'DONE'
        ON CONFLICT (instance_id) DO UPDATE SET token = excluded.token,
            token_id = excluded.token_id, key_id = excluded.key_id,
            valid_until = excluded.valid_until, renewed_at = excluded.renewed_at, taken_at = NULL
    )
    SELECT l.id, l.outcome FROM looked l ORDER BY l.id;
END
$$;
COMMENT ON FUNCTION renew_tokens IS
    'Stores the next tokens of agents, which their next heartbeats fetch. DONE, BUSY (the row is '
    'locked: again with the next pass), WRONG_STATE (it ends, or is revoked), UNKNOWN, or FENCED.';

ALTER TABLE instance_views
    -- Of the newest token; null if that is the launch's.
    ADD COLUMN token_key_id text,
    ADD COLUMN token_valid_until timestamptz,
    -- Since when the agent has not used it. Null if it has.
    ADD COLUMN token_untaken_since timestamptz;

CREATE OR REPLACE FUNCTION observe_instances(region text, after_id text, page_size integer)
RETURNS SETOF instance_views
LANGUAGE sql VOLATILE AS $$
    SELECT i.id, i.launch_id, i.image_id, i.client_sha, i.instance_type, i.capacity, i.ip_addr,
        i.status, i.launched_at, i.active_at, i.draining_since, i.missing_since, h.beat_at,
        h.resumed_at, i.notice,
        s.waiting, s.occupied, s.unclaimed,
        i.subnet_id, i.spot, i.drain_cause, i.leave_reason,
        t.key_id, t.valid_until, CASE WHEN t.taken_at IS NULL THEN t.renewed_at END
    FROM regions r
    JOIN instances i ON i.region = r.name
    LEFT JOIN heartbeats h ON h.instance_id = i.id
    LEFT JOIN internal.agent_tokens t ON t.instance_id = i.id
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

-- The template may have the token that the next key signs.
ALTER TABLE regions
    DROP CONSTRAINT regions_user_data_template_has_known_placeholders,
    DROP CONSTRAINT regions_user_data_template_of_replicas_has_no_token,
    ADD CONSTRAINT regions_user_data_template_has_known_placeholders
        CHECK (replace(user_data_template, '$${', '') !~
            '\$\{(?!(REGION|LAUNCH_ID|CAPACITY|CLIENT_SHA|HASURA_URL|AGENT_TOKEN|AGENT_NEXT_TOKEN)\})')
        NOT VALID,
    ADD CONSTRAINT regions_user_data_template_of_replicas_has_no_token
        CHECK (algorithm <> 'replica'
            OR replace(user_data_template, '$${', '') !~
                '\$\{(HASURA_URL|AGENT_TOKEN|AGENT_NEXT_TOKEN)\}')
        NOT VALID;
