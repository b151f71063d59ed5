DROP FUNCTION leave_host(text, text, json);
DROP FUNCTION internal.leave_limit(text);
DROP TABLE internal.host_leaves;

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
    PERFORM internal.beat(host.id);
    RETURN QUERY SELECT host.id, 'REGISTERED', host.status;
END
$$;

ALTER TABLE assign_results DROP COLUMN nearest;

-- The result row of an assign. If a slot was assigned, it includes the instance and
-- its address.
CREATE FUNCTION internal.assign_answer(outcome text, slot_id uuid, environment text)
RETURNS SETOF assign_results
LANGUAGE sql STABLE AS $$
    SELECT assign_answer.outcome, s.id, i.ip_addr, i.region, i.id, v.version, v.client_sha
    FROM (SELECT) one
    LEFT JOIN slots s ON s.id = assign_answer.slot_id
    LEFT JOIN instances i ON i.id = s.instance_id
    LEFT JOIN app_versions v ON v.environment = assign_answer.environment
$$;

CREATE OR REPLACE FUNCTION assign_slot(user_id text, session_id text, regions jsonb, client_sha text,
    user_limit integer, environment text, local_dev boolean)
RETURNS SETOF assign_results
LANGUAGE plpgsql AS $$
DECLARE
    -- Null selects the current image, regardless of the commit it was built from.
    wanted_sha CONSTANT text := CASE WHEN coalesce(assign_slot.local_dev, false) THEN NULL
        ELSE coalesce(assign_slot.client_sha, '') END;
    asked text[];
    serving text[] := '{}';
    candidate text;
    give_up_at timestamptz;
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

    -- A repeated request (the answer was lost, or the user tries again) gets the same
    -- slot and a new claim period. This is an UPDATE, not a SELECT, so that a concurrent
    -- pass cannot release the slot in between.
    UPDATE slots s
    SET allocated_at = CASE WHEN s.status = 'ALLOCATED' THEN now() ELSE s.allocated_at END
    WHERE s.user_id = assign_slot.user_id AND s.session_id = assign_slot.session_id
        AND s.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING')
    RETURNING s.id INTO taken;
    IF taken IS NOT NULL THEN
        RETURN QUERY SELECT * FROM internal.assign_answer(
            'ALREADY_ASSIGNED', taken, assign_slot.environment);
        RETURN;
    END IF;

    IF (SELECT count(*) FROM slots s WHERE s.user_id = assign_slot.user_id
            AND s.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING'))
        >= coalesce(assign_slot.user_limit, 3)
    THEN
        RETURN QUERY SELECT * FROM internal.assign_answer(
            'USER_ALREADY_ACTIVE', NULL, assign_slot.environment);
        RETURN;
    END IF;

    SELECT array_agg(r.name ORDER BY a.place) INTO asked
    FROM (
        SELECT e.value AS name, min(e.ordinality) AS place
        FROM jsonb_array_elements_text(assign_slot.regions) WITH ORDINALITY e
        GROUP BY e.value
    ) a
    JOIN public.regions r ON r.name = a.name AND r.enabled;
    IF asked IS NULL THEN
        RETURN QUERY SELECT * FROM internal.assign_answer(
            'REGION_NOT_ENABLED', NULL, assign_slot.environment);
        RETURN;
    END IF;

    FOREACH candidate IN ARRAY asked LOOP
        IF internal.images_for(candidate, wanted_sha) <> '{}' THEN
            serving := serving || candidate;
        END IF;
    END LOOP;
    IF serving = '{}' THEN
        RETURN QUERY SELECT * FROM internal.assign_answer(
            'COMMIT_HASH_MISMATCH', NULL, assign_slot.environment);
        RETURN;
    END IF;

    -- If the first search finds nothing, it is rolled back together with its locks, so
    -- that the search that waits does not hold locks that other assigns wait for.
    BEGIN
        FOREACH candidate IN ARRAY serving LOOP
            taken := internal.take_any_slot(candidate,
                internal.images_for(candidate, wanted_sha),
                assign_slot.user_id, assign_slot.session_id);
            EXIT WHEN taken IS NOT NULL;
        END LOOP;
        IF taken IS NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'no_data_found';
        END IF;
    EXCEPTION WHEN no_data_found THEN
        give_up_at := clock_timestamp() + interval '1 second';
        FOREACH candidate IN ARRAY serving LOOP
            taken := internal.await_any_slot(candidate,
                internal.images_for(candidate, wanted_sha),
                assign_slot.user_id, assign_slot.session_id, give_up_at);
            EXIT WHEN taken IS NOT NULL;
        END LOOP;
    END;

    IF taken IS NULL THEN
        INSERT INTO waiting_users AS w (user_id, session_id, region, first_at, last_at)
        VALUES (assign_slot.user_id, assign_slot.session_id, serving[1], now(), now())
        ON CONFLICT ON CONSTRAINT waiting_users_pkey
            DO UPDATE SET region = excluded.region, last_at = excluded.last_at;
        PERFORM internal.wake(serving[1], NULL);
        RETURN QUERY SELECT * FROM internal.assign_answer(
            'NO_INSTANCE_AVAILABLE', NULL, assign_slot.environment);
        RETURN;
    END IF;

    -- The user is served, so their waiting requests under all sessions are done.
    DELETE FROM waiting_users w WHERE w.user_id = assign_slot.user_id;
    PERFORM internal.wake(candidate, ARRAY(
        SELECT i.image_id FROM slots s JOIN instances i ON i.id = s.instance_id WHERE s.id = taken));
    RETURN QUERY SELECT * FROM internal.assign_answer(
        'ASSIGNED', taken, assign_slot.environment);
END
$$;
COMMENT ON FUNCTION assign_slot IS
    'Assigns a slot to a user, in the first of the regions with a free one. ASSIGNED, '
    'ALREADY_ASSIGNED, USER_ALREADY_ACTIVE, REGION_NOT_ENABLED, COMMIT_HASH_MISMATCH, or '
    'NO_INSTANCE_AVAILABLE.';

DROP FUNCTION internal.assign_answer(text, uuid, text, text);
DROP FUNCTION internal.search_slot(text[], text, text, text);
DROP FUNCTION internal.assign_refusal(text, integer, text[], text[], text);
DROP FUNCTION internal.serving_regions(text[], text);
DROP FUNCTION internal.enabled_regions(jsonb);
DROP FUNCTION internal.is_alive(text);
DROP FUNCTION internal.is_open(text);
