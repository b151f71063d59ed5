-- Addresses come from EC2, not from agents: what an agent reports may be any text, and users
-- connect to it. A region may give users names instead, which agents then report. Those are
-- checked here.

-- The longest DNS name, in its textual form (RFC 1035).
CREATE FUNCTION internal.is_host_name(name text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT octet_length(is_host_name.name) <= 253 AND is_host_name.name ~
        '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$'
$$;

-- Whether users may be given the text: an IP address or a name, and nothing around it.
CREATE FUNCTION internal.is_address(address text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF internal.is_host_name(is_address.address) THEN
        RETURN true;
    END IF;
    -- No network, no port, and one spelling.
    RETURN octet_length(is_address.address) <= 45
        AND host(is_address.address::inet) = is_address.address;
EXCEPTION WHEN invalid_text_representation THEN
    RETURN false;
END
$$;

ALTER TABLE regions
    ADD COLUMN address_source text NOT NULL DEFAULT 'private',
    ADD COLUMN address_suffix text,
    ADD CONSTRAINT regions_address_source_known
        CHECK (address_source IN ('private', 'public', 'reported')),
    ADD CONSTRAINT regions_address_source_reported_has_a_suffix
        CHECK (address_source <> 'reported' OR coalesce(address_suffix, '') <> ''),
    -- Names below it need room: an instance's id has 19 characters.
    ADD CONSTRAINT regions_address_suffix_is_a_dns_suffix
        CHECK (address_suffix = ''
            OR (octet_length(address_suffix) <= 200 AND internal.is_host_name(address_suffix)));
COMMENT ON COLUMN regions.address_source IS
    'the address that users get: private or public (EC2''s), or reported (a DNS name that the '
    'instance''s agent reports, under address_suffix)';
COMMENT ON COLUMN regions.address_suffix IS
    'the DNS suffix under which agents may report names, such as sandbox.example.com';

ALTER TABLE instances
    -- As EC2 gave them when a pass last wrote them. Passes keep that one current which the region
    -- gives to users.
    ADD COLUMN private_ip inet,
    ADD COLUMN public_ip inet,
    -- Addresses of hosts, not of networks.
    ADD CONSTRAINT instances_private_ip_is_a_host
        CHECK (masklen(private_ip) = CASE family(private_ip) WHEN 4 THEN 32 ELSE 128 END),
    ADD CONSTRAINT instances_public_ip_is_a_host
        CHECK (masklen(public_ip) = CASE family(public_ip) WHEN 4 THEN 32 ELSE 128 END);
COMMENT ON COLUMN instances.ip_addr IS
    'what users connect to: an IP address of EC2, or a checked DNS name (regions.address_source)';

-- A trigger, because a CHECK would also be made when an old row, with any text, is drained or
-- terminated.
CREATE FUNCTION internal.instance_has_an_address() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT internal.is_address(NEW.ip_addr)
        AND (TG_OP = 'INSERT' OR NEW.ip_addr IS DISTINCT FROM OLD.ip_addr)
    THEN
        RAISE EXCEPTION 'instance %: ip_addr must be an IP address or a DNS name in lower case', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'instances_ip_addr_is_an_address',
                TABLE = 'instances';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER instances_have_addresses BEFORE INSERT OR UPDATE OF ip_addr ON instances
    FOR EACH ROW EXECUTE FUNCTION internal.instance_has_an_address();

-- An agent may send megabytes, and what is stored or answered is bounded. So is the error.
CREATE FUNCTION internal.check_size(called text, argument text, value text, most integer)
RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF octet_length(check_size.value) > check_size.most THEN
        RAISE EXCEPTION '%: % has % bytes: it must have at most %', check_size.called,
            check_size.argument, octet_length(check_size.value), check_size.most
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;

-- The one of EC2's addresses that users of the region get. Null while EC2 has given none, and in
-- regions of reported names.
CREATE FUNCTION internal.ec2_address(region text, private_ip inet, public_ip inet) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT host(CASE r.address_source
        WHEN 'private' THEN ec2_address.private_ip
        WHEN 'public' THEN ec2_address.public_ip END)
    FROM regions r WHERE r.name = ec2_address.region
$$;

-- The name that an agent reports, in lower case. Null in regions of EC2's addresses.
CREATE FUNCTION internal.reported_name(host instances, reported text) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    -- Only ASCII letters change: in other collations a letter outside of ASCII may become one.
    name CONSTANT text := lower(coalesce(reported_name.reported, '') COLLATE "C");
    suffix CONSTANT text := (SELECT r.address_suffix FROM regions r
        WHERE r.name = reported_name.host.region AND r.address_source = 'reported');
BEGIN
    IF suffix IS NULL THEN
        RETURN NULL;
    END IF;
    IF NOT internal.is_host_name(name) OR right(name, length(suffix) + 1) <> '.' || suffix THEN
        RAISE EXCEPTION 'register_host: ip_addr must be a DNS name under %, such as %.%, not "%"',
            suffix, reported_name.host.id, suffix,
            regexp_replace(left(name, 64), '[^ -~]', '?', 'g')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF EXISTS (SELECT FROM regexp_matches(name, 'i-[0-9a-f]{8,17}', 'g') m (ids)
            WHERE m.ids[1] <> reported_name.host.id) THEN
        RAISE EXCEPTION 'register_host: ip_addr % has the id of another instance: it must have %, '
            'or no id', name, reported_name.host.id
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN name;
END
$$;

-- The address does not come from the agent, unless the region gives users reported names. An agent
-- is answered with RETRY until EC2 has given the instance its address.
CREATE OR REPLACE FUNCTION register_host(instance_id text, ip_addr text, hasura_session json)
RETURNS SETOF agent_answers
LANGUAGE plpgsql AS $$
DECLARE
    host instances;
    name text;
    address text;
BEGIN
    PERFORM internal.check_size('register_host', 'instance_id', register_host.instance_id, 64);
    PERFORM internal.check_size('register_host', 'ip_addr', register_host.ip_addr, 253);
    SELECT internal.reported_name(i, register_host.ip_addr) INTO name FROM instances i
    WHERE i.id = register_host.instance_id AND internal.is_own(i, register_host.hasura_session)
        AND i.status IN ('PRE_CONNECTION', 'ACTIVE');
    IF name IS NOT NULL THEN
        -- Serialises the registrations of a name, so that only one instance gets it. Before the
        -- instance, which all others lock first.
        PERFORM pg_advisory_xact_lock(hashtextextended('register_host ' || name, 0));
    END IF;
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
    IF EXISTS (SELECT FROM instances i
            WHERE i.region = host.region AND i.id <> host.id AND i.ip_addr = name
                AND i.status IN ('ACTIVE', 'DRAINING')) THEN
        RAISE EXCEPTION 'register_host: ip_addr % is the name of another instance: it must be this '
            'instance''s own', name
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF host.status = 'PRE_CONNECTION' THEN
        address := coalesce(name, internal.ec2_address(host.region, host.private_ip, host.public_ip));
        IF address IS NULL THEN
            -- A pass asks EC2. One that observed the region just now has found none: EC2 takes
            -- seconds to give a public address.
            IF NOT EXISTS (SELECT FROM region_fences f WHERE f.region = host.region
                    AND f.last_pass_at > internal.clock() - interval '10 seconds') THEN
                PERFORM internal.wake(host.region, NULL);
            END IF;
            RETURN QUERY SELECT host.id, 'RETRY', host.status, NULL::text;
            RETURN;
        END IF;
        UPDATE instances i SET status = 'ACTIVE', active_at = now(), ip_addr = address
        WHERE i.id = host.id
        RETURNING i.* INTO host;
        INSERT INTO slots (instance_id) SELECT host.id FROM generate_series(1, host.capacity);
    END IF;
    -- An agent that registers again is well, and may have a new name.
    UPDATE instances i SET leave_reason = NULL, ip_addr = coalesce(name, i.ip_addr)
    WHERE i.id = host.id AND i.status = 'ACTIVE'
        AND (i.leave_reason IS NOT NULL OR i.ip_addr <> name);
    PERFORM internal.beat(host.id);
    RETURN QUERY SELECT host.id, 'REGISTERED', host.status,
        internal.next_token(host.id, register_host.hasura_session);
END
$$;
COMMENT ON FUNCTION register_host IS
    'Sets the agent''s instance to ACTIVE with the address that its region gives to users, and '
    'creates its slots. REGISTERED, with the agent''s next token if there is one, RETRY (the row '
    'does not exist yet, or EC2 has not given the address yet), or SHUT_DOWN (the instance is to '
    'end, is not the agent''s, or its token is revoked).';

-- As before, with bounds of what an agent sends: its id is in the answer, and its reason is read.
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

CREATE OR REPLACE FUNCTION leave_host(instance_id text, reason text, hasura_session json)
RETURNS SETOF agent_answers
LANGUAGE plpgsql AS $$
DECLARE
    -- For logs and pages: one line, and not too long.
    said CONSTANT text := left(btrim(regexp_replace(
        left(coalesce(leave_host.reason, ''), 2000), '[[:cntrl:]]+', ' ', 'g')), 500);
    host instances;
BEGIN
    PERFORM internal.check_size('leave_host', 'instance_id', leave_host.instance_id, 64);
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

CREATE OR REPLACE FUNCTION internal.insert_instances(region text, instances jsonb, status text)
RETURNS SETOF write_results
LANGUAGE sql AS $$
    WITH given AS (
        SELECT g.* FROM jsonb_to_recordset(insert_instances.instances) AS g (
            id text, launch_id text, image_id text, client_sha text, instance_type text,
            subnet_id text, spot boolean, capacity integer, private_ip inet, public_ip inet,
            launched_at timestamptz)
    ), inserted AS (
        INSERT INTO instances AS i (id, region, launch_id, image_id, client_sha, instance_type,
            subnet_id, spot, capacity, private_ip, public_ip, status, launched_at)
        SELECT g.id, insert_instances.region, g.launch_id, g.image_id, g.client_sha,
            g.instance_type, g.subnet_id, g.spot, g.capacity, g.private_ip, g.public_ip,
            insert_instances.status, g.launched_at
        FROM given g ORDER BY g.id
        ON CONFLICT (id) DO NOTHING
        RETURNING i.id
    )
    SELECT g.id, CASE WHEN n.id IS NULL THEN 'ALREADY' ELSE 'DONE' END
    FROM given g LEFT JOIN inserted n ON n.id = g.id
    ORDER BY g.id
$$;

-- An agent can hold its instance's row, so locked rows are not waited for.
CREATE FUNCTION note_addresses(region text, version bigint, addresses jsonb)
RETURNS SETOF write_results
LANGUAGE plpgsql AS $$
BEGIN
    IF internal.fenced(note_addresses.region, note_addresses.version) THEN
        RETURN QUERY SELECT note_addresses.region, 'FENCED';
        RETURN;
    END IF;
    RETURN QUERY
    WITH given AS (
        SELECT g.id, g.private_ip, g.public_ip,
            internal.ec2_address(note_addresses.region, g.private_ip, g.public_ip) AS address
        FROM (SELECT DISTINCT ON (a.id) a.* FROM jsonb_to_recordset(note_addresses.addresses)
            AS a (id text, private_ip inet, public_ip inet) ORDER BY a.id) g
    ), locked AS (
        SELECT i.id FROM instances i JOIN given g ON g.id = i.id
        WHERE i.region = note_addresses.region AND i.status <> 'TERMINATING'
            AND (i.private_ip IS DISTINCT FROM g.private_ip
                OR i.public_ip IS DISTINCT FROM g.public_ip OR i.ip_addr <> g.address)
        ORDER BY i.id FOR NO KEY UPDATE OF i SKIP LOCKED
    ), changed AS (
        -- Before its registration, users have no address of the instance.
        UPDATE instances i SET private_ip = g.private_ip, public_ip = g.public_ip,
            ip_addr = CASE WHEN i.ip_addr IS NOT NULL THEN coalesce(g.address, i.ip_addr) END
        FROM given g JOIN locked l ON l.id = g.id
        WHERE i.id = g.id
        RETURNING i.id
    )
    SELECT g.id, CASE
            WHEN i.id IS NULL THEN 'UNKNOWN'
            WHEN i.status = 'TERMINATING' THEN 'WRONG_STATE'
            WHEN c.id IS NOT NULL THEN 'DONE'
            WHEN i.private_ip IS DISTINCT FROM g.private_ip
                OR i.public_ip IS DISTINCT FROM g.public_ip OR i.ip_addr <> g.address THEN 'BUSY'
            ELSE 'ALREADY'
        END
    FROM given g
    LEFT JOIN instances i ON i.id = g.id AND i.region = note_addresses.region
    LEFT JOIN changed c ON c.id = g.id
    ORDER BY g.id;
END
$$;
COMMENT ON FUNCTION note_addresses IS
    'Records the addresses that EC2 gave instances, and gives them to users where the region does. '
    'DONE, ALREADY, BUSY (the row is locked: again with the next pass), WRONG_STATE (it ends), '
    'UNKNOWN, or FENCED.';

ALTER TABLE instance_views
    ADD COLUMN private_ip text,
    ADD COLUMN public_ip text;

CREATE OR REPLACE FUNCTION observe_instances(region text, after_id text, page_size integer)
RETURNS SETOF instance_views
LANGUAGE sql VOLATILE AS $$
    SELECT i.id, i.launch_id, i.image_id, i.client_sha, i.instance_type, i.capacity, i.ip_addr,
        i.status, i.launched_at, i.active_at, i.draining_since, i.missing_since, h.beat_at,
        h.resumed_at, i.notice,
        s.waiting, s.occupied, s.unclaimed,
        i.subnet_id, i.spot, i.drain_cause, i.leave_reason,
        t.key_id, t.valid_until, CASE WHEN t.taken_at IS NULL THEN t.renewed_at END,
        host(i.private_ip), host(i.public_ip)
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
