-- A user is never bound to a silent machine, a region without an image is told apart from an
-- outdated client, and a host agent can take its own instance out of service.

-- The nearest region that is enabled, whether or not it served the user.
ALTER TABLE assign_results ADD COLUMN nearest text;

-- Whether users may be assigned to the instance, whatever image it runs.
CREATE FUNCTION internal.is_open(instance_id text) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM instances i
        CROSS JOIN LATERAL internal.open_instance(
            i.id, ARRAY[i.image_id], internal.beat_since(i.region)) o
        WHERE i.id = is_open.instance_id)
$$;

-- Whether a user could still connect to the instance, though no other is assigned to it:
-- its agent lives, and nobody has decided to terminate it.
CREATE FUNCTION internal.is_alive(instance_id text) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM instances i JOIN heartbeats h ON h.instance_id = i.id
        WHERE i.id = is_alive.instance_id AND i.status IN ('ACTIVE', 'DRAINING')
            AND h.beat_at >= internal.beat_since(i.region))
$$;

-- The requested regions that are enabled, in the order of the request.
CREATE FUNCTION internal.enabled_regions(regions jsonb) RETURNS text[]
LANGUAGE sql STABLE AS $$
    SELECT coalesce(array_agg(r.name ORDER BY a.place), '{}')
    FROM (
        SELECT e.value AS name, min(e.ordinality) AS place
        FROM jsonb_array_elements_text(enabled_regions.regions) WITH ORDINALITY e
        GROUP BY e.value
    ) a
    JOIN public.regions r ON r.name = a.name AND r.enabled
$$;

-- Those of the regions that serve the client, in their order.
CREATE FUNCTION internal.serving_regions(regions text[], client_sha text) RETURNS text[]
LANGUAGE sql STABLE AS $$
    SELECT coalesce(array_agg(a.name ORDER BY a.place), '{}')
    FROM unnest(serving_regions.regions) WITH ORDINALITY a (name, place)
    WHERE internal.images_for(a.name, serving_regions.client_sha) <> '{}'
$$;

-- Why no slot is searched for the user; null if one is. The first reason in this order.
CREATE FUNCTION internal.assign_refusal(
    user_id text, user_limit integer, asked text[], serving text[], client_sha text)
RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN (SELECT count(*) FROM slots s WHERE s.user_id = assign_refusal.user_id
                AND s.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING'))
            >= coalesce(assign_refusal.user_limit, 3)
            THEN 'USER_ALREADY_ACTIVE'
        WHEN assign_refusal.asked = '{}' THEN 'REGION_NOT_ENABLED'
        WHEN assign_refusal.serving <> '{}' THEN NULL
        -- A client is outdated only if there is an image for another one. A null
        -- `client_sha` would take any.
        WHEN assign_refusal.client_sha IS NULL OR NOT EXISTS (SELECT FROM images m
                WHERE m.region = ANY (assign_refusal.asked) AND m.state IN ('CURRENT', 'BAKING'))
            THEN 'NO_IMAGE_SERVED'
        ELSE 'COMMIT_HASH_MISMATCH'
    END
$$;

-- Searches the regions for a free slot, first without waiting for locks.
--
-- If the first search finds nothing, it is rolled back together with its locks, so that
-- the search that waits does not hold locks that other assigns wait for.
CREATE FUNCTION internal.search_slot(
    regions text[], client_sha text, user_id text, session_id text)
RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    candidate text;
    give_up_at timestamptz;
    taken uuid;
BEGIN
    FOREACH candidate IN ARRAY search_slot.regions LOOP
        taken := internal.take_any_slot(candidate,
            internal.images_for(candidate, search_slot.client_sha),
            search_slot.user_id, search_slot.session_id);
        EXIT WHEN taken IS NOT NULL;
    END LOOP;
    IF taken IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found';
    END IF;
    RETURN taken;
EXCEPTION WHEN no_data_found THEN
    give_up_at := clock_timestamp() + interval '1 second';
    FOREACH candidate IN ARRAY search_slot.regions LOOP
        taken := internal.await_any_slot(candidate,
            internal.images_for(candidate, search_slot.client_sha),
            search_slot.user_id, search_slot.session_id, give_up_at);
        EXIT WHEN taken IS NOT NULL;
    END LOOP;
    RETURN taken;
END
$$;

-- The result row of an assign. If a slot was assigned, it includes the instance and
-- its address.
CREATE FUNCTION internal.assign_answer(
    outcome text, slot_id uuid, environment text, nearest text)
RETURNS SETOF assign_results
LANGUAGE sql STABLE AS $$
    SELECT assign_answer.outcome, s.id, i.ip_addr, i.region, i.id, v.version, v.client_sha,
        assign_answer.nearest
    FROM (SELECT) one
    LEFT JOIN slots s ON s.id = assign_answer.slot_id
    LEFT JOIN instances i ON i.id = s.instance_id
    LEFT JOIN app_versions v ON v.environment = assign_answer.environment
$$;

CREATE OR REPLACE FUNCTION assign_slot(user_id text, session_id text, regions jsonb,
    client_sha text, user_limit integer, environment text, local_dev boolean)
RETURNS SETOF assign_results
LANGUAGE plpgsql AS $$
DECLARE
    -- Null selects the current image, regardless of the commit it was built from.
    wanted_sha CONSTANT text := CASE WHEN coalesce(assign_slot.local_dev, false) THEN NULL
        ELSE coalesce(assign_slot.client_sha, '') END;
    asked text[];
    serving text[];
    held slots;
    refusal text;
    taken uuid;
BEGIN
    IF coalesce(assign_slot.user_id, '') = '' OR coalesce(assign_slot.session_id, '') = '' THEN
        RAISE EXCEPTION 'assign_slot: user_id and session_id must not be empty'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    -- Serialises the requests of one user, so that counting the limit and recognising a
    -- repeated request are free of races. Two users whose ids have the same hash wait
    -- for each other, which is harmless.
    PERFORM pg_advisory_xact_lock(hashtextextended(assign_slot.user_id, 0));
    asked := internal.enabled_regions(assign_slot.regions);

    -- A repeated request (the answer was lost, or the user tries again) gets the same
    -- slot and a new claim period. The slot is locked, so that neither a concurrent pass
    -- can release it nor its agent claim it in between.
    SELECT s.* INTO held FROM slots s
    WHERE s.user_id = assign_slot.user_id AND s.session_id = assign_slot.session_id
        AND s.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING')
    FOR NO KEY UPDATE;
    IF held.status IN ('CONNECTING', 'RUNNING') OR internal.is_open(held.instance_id) THEN
        UPDATE slots s SET allocated_at = now() WHERE s.id = held.id AND s.status = 'ALLOCATED';
        RETURN QUERY SELECT * FROM internal.assign_answer(
            'ALREADY_ASSIGNED', held.id, assign_slot.environment, asked[1]);
        RETURN;
    END IF;
    -- Nobody connected to this slot yet, and its instance is silent or leaves: the user
    -- gets another one. A session holds one slot at a time, so this one is freed first.
    UPDATE slots s
    SET status = 'WAITING', user_id = NULL, session_id = NULL, allocated_at = NULL
    WHERE s.id = held.id;

    serving := internal.serving_regions(asked, wanted_sha);
    refusal := internal.assign_refusal(
        assign_slot.user_id, assign_slot.user_limit, asked, serving, wanted_sha);
    IF refusal IS NULL THEN
        taken := internal.search_slot(
            serving, wanted_sha, assign_slot.user_id, assign_slot.session_id);
    END IF;

    -- There is no other. An instance that leaves still takes this user.
    IF taken IS NULL AND internal.is_alive(held.instance_id) THEN
        UPDATE slots s SET status = 'ALLOCATED', user_id = assign_slot.user_id,
            session_id = assign_slot.session_id, allocated_at = now()
        WHERE s.id = held.id;
        RETURN QUERY SELECT * FROM internal.assign_answer(
            'ALREADY_ASSIGNED', held.id, assign_slot.environment, asked[1]);
        RETURN;
    END IF;

    IF taken IS NOT NULL THEN
        -- The user is served, so their waiting requests under all sessions are done.
        DELETE FROM waiting_users w WHERE w.user_id = assign_slot.user_id;
        PERFORM internal.wake(i.region, ARRAY[i.image_id])
        FROM slots s JOIN instances i ON i.id = s.instance_id WHERE s.id = taken;
    ELSIF refusal IS NULL THEN
        INSERT INTO waiting_users AS w (user_id, session_id, region, first_at, last_at)
        VALUES (assign_slot.user_id, assign_slot.session_id, serving[1], now(), now())
        ON CONFLICT ON CONSTRAINT waiting_users_pkey
            DO UPDATE SET region = excluded.region, last_at = excluded.last_at;
        PERFORM internal.wake(serving[1], NULL);
        refusal := 'NO_INSTANCE_AVAILABLE';
    END IF;
    RETURN QUERY SELECT * FROM internal.assign_answer(
        coalesce(refusal, 'ASSIGNED'), taken, assign_slot.environment, asked[1]);
END
$$;
COMMENT ON FUNCTION assign_slot IS
    'Assigns a slot to a user, in the first of the regions with a free one. ASSIGNED, '
    'ALREADY_ASSIGNED, USER_ALREADY_ACTIVE, REGION_NOT_ENABLED, NO_IMAGE_SERVED, '
    'COMMIT_HASH_MISMATCH, or NO_INSTANCE_AVAILABLE.';

DROP FUNCTION internal.assign_answer(text, uuid, text);

-- The instances that agents took out of service lately. Their own rows are soon gone, so
-- these are counted instead.
CREATE TABLE internal.host_leaves (
    instance_id text PRIMARY KEY,
    region      text NOT NULL,
    at          timestamptz NOT NULL
);
CREATE INDEX host_leaves_region_at ON internal.host_leaves (region, at);

-- How many of a region's instances may leave by themselves within an hour. A bad image,
-- or a check that fails everywhere, must not empty the region.
CREATE FUNCTION internal.leave_limit(region text) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT greatest(3, count(*) / 10) FROM instances i WHERE i.region = leave_limit.region
$$;

CREATE FUNCTION leave_host(instance_id text, reason text, hasura_session json)
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
COMMENT ON FUNCTION leave_host IS
    'Takes the agent''s instance out of service, because it cannot serve users. LEAVING (it is '
    'DRAINING), HELD (too many of the region leave: it stays in service, ask again later), RETRY '
    '(the row does not exist yet), or SHUT_DOWN.';

-- An agent that registers again is well: what it said before is over.
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
