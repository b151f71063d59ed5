-- Back to the functions and columns before. What agents reported before is lost: registered
-- instances keep EC2's addresses.

ALTER TABLE instance_views DROP COLUMN private_ip, DROP COLUMN public_ip;

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

DROP FUNCTION note_addresses(text, bigint, jsonb);

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

DROP FUNCTION internal.reported_name(instances, text);
DROP FUNCTION internal.ec2_address(text, inet, inet);
DROP FUNCTION internal.check_size(text, text, text, integer);
DROP TRIGGER instances_have_addresses ON instances;
DROP FUNCTION internal.instance_has_an_address();

ALTER TABLE instances DROP COLUMN private_ip, DROP COLUMN public_ip;
COMMENT ON COLUMN instances.ip_addr IS NULL;
ALTER TABLE regions DROP COLUMN address_source, DROP COLUMN address_suffix;

DROP FUNCTION internal.is_address(text);
DROP FUNCTION internal.is_host_name(text);
