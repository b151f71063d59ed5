-- The functions, the indexes and the keys as they were before.

CREATE OR REPLACE FUNCTION drain_instances(region text, version bigint, ids jsonb, cause text)
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

CREATE OR REPLACE FUNCTION status_images() RETURNS SETOF image_statuses
LANGUAGE sql VOLATILE
SET jit = off
AS $$
    WITH counted AS (
        SELECT s.instance_id,
            count(*) FILTER (WHERE s.status = 'WAITING') AS waiting,
            count(*) FILTER (WHERE s.status <> 'WAITING') AS occupied
        FROM slots s GROUP BY s.instance_id
    ), since AS MATERIALIZED (
        SELECT r.name AS region, internal.beat_since(r.name) AS beat_since FROM regions r
    ), hosts AS MATERIALIZED (
        SELECT i.region, i.image_id, i.client_sha, i.status, i.capacity,
            coalesce(c.waiting, 0) AS waiting, coalesce(c.occupied, 0) AS occupied,
            -- The rule that assigning uses. MATERIALIZED, so that it is evaluated once per instance.
            i.status = 'ACTIVE' AND EXISTS (SELECT FROM internal.open_instance(
                i.id, ARRAY[i.image_id], b.beat_since)) AS open
        FROM instances i
        JOIN since b ON b.region = i.region
        LEFT JOIN counted c ON c.instance_id = i.id
    ), totals AS (
        SELECT h.region, h.image_id, min(h.client_sha) AS client_sha,
            count(*) FILTER (WHERE h.status = 'PRE_CONNECTION') AS pre_connection,
            count(*) FILTER (WHERE h.status = 'ACTIVE') AS active,
            count(*) FILTER (WHERE h.status = 'DRAINING') AS draining,
            count(*) FILTER (WHERE h.status = 'TERMINATING') AS terminating,
            count(*) FILTER (WHERE h.open) AS open,
            sum(h.waiting) FILTER (WHERE h.open) AS free,
            sum(h.capacity) FILTER (WHERE h.status = 'PRE_CONNECTION') AS starting,
            sum(h.occupied) AS occupied
        FROM hosts h GROUP BY h.region, h.image_id
    ), known AS (
        SELECT m.*, row_number() OVER (
                PARTITION BY m.region, m.state IN ('RETIRED', 'FAILED')
                ORDER BY m.state_since DESC, m.image_id) AS place
        FROM images m
    )
    SELECT coalesce(m.region, t.region), coalesce(m.image_id, t.image_id),
        coalesce(m.client_sha, t.client_sha), m.state, m.state_since, m.reason,
        coalesce(t.pre_connection, 0)::integer, coalesce(t.active, 0)::integer,
        coalesce(t.draining, 0)::integer, coalesce(t.terminating, 0)::integer,
        coalesce(t.open, 0)::integer, coalesce(t.free, 0)::integer,
        coalesce(t.starting, 0)::integer, coalesce(t.occupied, 0)::integer
    FROM known m FULL JOIN totals t ON t.region = m.region AND t.image_id = m.image_id
    WHERE t.region IS NOT NULL OR m.state NOT IN ('RETIRED', 'FAILED') OR m.place <= 3
    ORDER BY 1, m.state_since DESC NULLS LAST, 2
$$;

CREATE OR REPLACE FUNCTION status_regions(environment text) RETURNS SETOF region_statuses
LANGUAGE sql VOLATILE AS $$
    SELECT r.name, r.enabled, r.paused, r.algorithm, r.created_at, now(),
        -- As a pass counts them.
        (SELECT count(DISTINCT u.user_id)::integer FROM waiting_users u
         WHERE u.region = r.name AND u.last_at >= now() - interval '1 minute'),
        f.version, f.last_pass_at,
        (SELECT v.client_sha FROM app_versions v WHERE v.environment = status_regions.environment),
        to_jsonb(r)
    FROM regions r LEFT JOIN region_fences f ON f.region = r.name
    ORDER BY r.name
$$;

CREATE OR REPLACE FUNCTION observe_region(region text, environment text)
RETURNS SETOF region_views
LANGUAGE sql VOLATILE AS $$
    WITH clock AS MATERIALIZED (SELECT internal.clock() AS now)
    SELECT r.name,
        c.now,
        -- Users, not requests: a user who tries again with another session is counted once.
        (SELECT count(DISTINCT u.user_id)::integer FROM waiting_users u
         WHERE u.region = r.name AND u.last_at >= c.now - interval '1 minute'),
        internal.watched_since(r.name, c.now),
        (SELECT v.client_sha FROM app_versions v WHERE v.environment = observe_region.environment),
        to_jsonb(r)
    FROM regions r CROSS JOIN clock c WHERE r.name = observe_region.region
$$;

ALTER TABLE instance_views
    DROP COLUMN quick_ends,
    DROP COLUMN unclaimed_ends,
    DROP COLUMN sessions_live;

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

CREATE OR REPLACE FUNCTION internal.prune(region text) RETURNS void
LANGUAGE sql AS $$
    DELETE FROM region_wakeups w WHERE (w.region, w.bucket) IN (
        SELECT o.region, o.bucket FROM region_wakeups o
        WHERE o.region = prune.region AND o.bucket < now() - interval '1 hour'
        ORDER BY o.bucket LIMIT 2000 FOR UPDATE SKIP LOCKED);
    DELETE FROM waiting_users u WHERE (u.user_id, u.session_id) IN (
        SELECT o.user_id, o.session_id FROM waiting_users o
        WHERE o.region = prune.region AND o.last_at < now() - interval '1 hour'
        ORDER BY o.last_at LIMIT 2000 FOR UPDATE SKIP LOCKED);
$$;

DROP FUNCTION internal.wait_for_slot(text, text, text);
DROP FUNCTION internal.forget_waiting(text, timestamptz, integer);

DELETE FROM waiting_users w USING waiting_users later
WHERE later.user_id = w.user_id AND later.session_id = w.session_id
    AND (later.last_at, later.region) > (w.last_at, w.region);
COMMENT ON COLUMN waiting_users.session_id IS NULL;
ALTER TABLE waiting_users
    DROP CONSTRAINT waiting_users_pkey,
    ADD CONSTRAINT waiting_users_pkey PRIMARY KEY (user_id, session_id);

CREATE OR REPLACE FUNCTION internal.search_slot(
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

DROP FUNCTION internal.await_any_slot(text, text[], text, text, text[], timestamptz);
CREATE FUNCTION internal.await_any_slot(
    region text, image_ids text[], user_id text, session_id text, give_up_at timestamptz)
RETURNS uuid
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashagg = off SET jit = off
SET lock_timeout = '500ms'
AS $$
DECLARE
    beat_since CONSTANT timestamptz := internal.beat_since(await_any_slot.region);
    candidate record;
    taken uuid;
BEGIN
    FOR candidate IN
        SELECT s.id
        FROM (
            SELECT w.instance_id, w.free
            FROM internal.with_room(await_any_slot.region, '') w
            CROSS JOIN LATERAL internal.open_instance(
                w.instance_id, await_any_slot.image_ids, beat_since) o
            ORDER BY w.instance_id LIMIT 500
        ) p
        JOIN slots s ON s.instance_id = p.instance_id AND s.status = 'WAITING'
        ORDER BY p.free, p.instance_id, s.id
    LOOP
        BEGIN
            taken := internal.await_slot(
                candidate.id, await_any_slot.user_id, await_any_slot.session_id);
            IF taken IS NOT NULL THEN
                RETURN taken;
            END IF;
            RAISE EXCEPTION USING ERRCODE = 'lock_not_available';
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
        EXIT WHEN clock_timestamp() > await_any_slot.give_up_at;
    END LOOP;
    RETURN NULL;
END
$$;

DROP FUNCTION internal.take_any_slot(text, text[], text, text, text[]);
CREATE FUNCTION internal.take_any_slot(
    region text, image_ids text[], user_id text, session_id text)
RETURNS uuid
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashagg = off SET jit = off
AS $$
DECLARE
    page_size CONSTANT integer := 200;
    beat_since CONSTANT timestamptz := internal.beat_since(take_any_slot.region);
    after_id text := '';
    candidate record;
    taken uuid;
BEGIN
    WHILE after_id IS NOT NULL LOOP
        FOR candidate IN
            SELECT p.instance_id
            FROM (
                SELECT f.instance_id, f.free
                FROM (
                    SELECT w.instance_id, w.free
                    FROM internal.with_room(take_any_slot.region, after_id) w
                    ORDER BY w.instance_id LIMIT page_size
                ) f
                ORDER BY f.free, f.instance_id
            ) p
            CROSS JOIN LATERAL internal.open_instance(
                p.instance_id, take_any_slot.image_ids, beat_since) o
            ORDER BY p.free, p.instance_id
        LOOP
            taken := internal.take_slot(
                candidate.instance_id, take_any_slot.user_id, take_any_slot.session_id);
            IF taken IS NOT NULL THEN
                RETURN taken;
            END IF;
        END LOOP;
        -- The next page begins after this id. Null after the last page.
        SELECT w.instance_id INTO after_id
        FROM internal.with_room(take_any_slot.region, after_id) w
        ORDER BY w.instance_id OFFSET page_size - 1 LIMIT 1;
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION internal.await_slot(slot_id uuid, user_id text, session_id text)
RETURNS uuid
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM instances i
    WHERE i.id = (SELECT s.instance_id FROM slots s WHERE s.id = await_slot.slot_id)
        AND i.status = 'ACTIVE'
    FOR SHARE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE slots s
    SET status = 'ALLOCATED', user_id = await_slot.user_id, session_id = await_slot.session_id,
        allocated_at = now()
    WHERE s.id = await_slot.slot_id AND s.status = 'WAITING';
    RETURN CASE WHEN FOUND THEN await_slot.slot_id END;
END
$$;

CREATE OR REPLACE FUNCTION internal.take_slot(instance_id text, user_id text, session_id text)
RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    taken uuid;
BEGIN
    PERFORM FROM instances i WHERE i.id = take_slot.instance_id AND i.status = 'ACTIVE'
    FOR SHARE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT s.id INTO taken FROM slots s
    WHERE s.instance_id = take_slot.instance_id AND s.status = 'WAITING'
    ORDER BY s.id LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
        UPDATE slots s
        SET status = 'ALLOCATED', user_id = take_slot.user_id, session_id = take_slot.session_id,
            allocated_at = now()
        WHERE s.id = taken;
    END IF;
    RETURN taken;
END
$$;

DROP FUNCTION internal.with_room(text, text);
CREATE FUNCTION internal.with_room(region text, after_id text)
RETURNS TABLE (instance_id text, free bigint)
LANGUAGE sql STABLE AS $$
    SELECT s.instance_id, count(*) FROM slots s
    WHERE s.region = with_room.region AND s.status = 'WAITING'
        AND s.instance_id > with_room.after_id
    GROUP BY s.instance_id ORDER BY s.instance_id
$$;

DROP FUNCTION internal.is_free(text, timestamptz);

CREATE OR REPLACE FUNCTION replace_slot(slot_id uuid, hasura_session json) RETURNS SETOF agent_answers
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
COMMENT ON FUNCTION replace_slot IS
    'Deletes a DYING slot and, on an ACTIVE instance, creates a new one. REPLACED, REMOVED (not '
    'ACTIVE, so none is created), REFUSED (not DYING), or UNKNOWN (replaced before).';

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

CREATE OR REPLACE FUNCTION claim_slot(slot_id uuid, user_id text, session_id text, hasura_session json)
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

DROP FUNCTION internal.cool_down(instances, timestamptz);
DROP FUNCTION internal.others_end_quickly(instances);
DROP FUNCTION internal.session_ended(instances, text, timestamptz);
DROP TRIGGER slots_are_released ON slots;
DROP FUNCTION internal.slot_is_released();
DROP FUNCTION internal.note_failed_session(text, text, boolean, timestamptz, timestamptz);
DROP FUNCTION internal.several();
DROP TABLE internal.failed_sessions;
DROP TABLE internal.session_ends;

UPDATE instances SET drain_cause = 'OPERATOR' WHERE drain_cause = 'SUSPECT';
ALTER TABLE instances
    DROP CONSTRAINT instances_drain_cause_known,
    ADD CONSTRAINT instances_drain_cause_known CHECK (drain_cause IN
        ('SURPLUS', 'MAXIMUM', 'ROOM', 'IMAGE', 'TOKEN', 'NOTICE', 'AGENT', 'OPERATOR', 'REVOKED'));

DROP INDEX slots_free;
CREATE INDEX slots_free ON slots (region, instance_id) WHERE status = 'WAITING';
ALTER TABLE slots
    DROP COLUMN free_from,
    DROP COLUMN first_allocated_at,
    DROP COLUMN claimed_at;
ALTER TABLE regions
    DROP COLUMN quick_end_seconds,
    DROP COLUMN replacements_per_minute;
