-- Giving a user a slot: one call, one row back, never an error for what can be
-- expected to happen.

CREATE TABLE assign_results (
    outcome        text NOT NULL,
    slot_id        uuid,
    ip_addr        text,
    region         text,
    instance_id    text,
    app_version    text,
    app_client_sha text,
    CONSTRAINT assign_results_only_a_shape CHECK (false)
);

-- The ids of a region's served images that a client may be put on: those built
-- from its own hash or, for a developer (`client_sha` null), the current one.
CREATE FUNCTION internal.images_for(region text, client_sha text) RETURNS text[]
LANGUAGE sql STABLE AS $$
    SELECT coalesce(array_agg(m.image_id), '{}') FROM images m
    WHERE m.region = images_for.region
        AND CASE WHEN images_for.client_sha IS NULL THEN m.state = 'CURRENT'
            ELSE m.state IN ('CURRENT', 'BAKING') AND m.client_sha = images_for.client_sha END
$$;

-- The oldest heartbeat that still counts in a region.
CREATE FUNCTION internal.beat_since(region text) RETURNS timestamptz
LANGUAGE sql STABLE AS $$
    SELECT now() - make_interval(secs => r.heartbeat_seconds)
    FROM regions r WHERE r.name = beat_since.region
$$;

-- The instance, if users may be put on it: ACTIVE, beating, on one of the
-- images, and not about to be taken by EC2. The limit keeps this a look-up for each instance wherever it is
-- joined, never a join with all instances.
CREATE FUNCTION internal.open_instance(
    instance_id text, image_ids text[], beat_since timestamptz)
RETURNS TABLE (id text)
LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT i.id FROM instances i JOIN heartbeats h ON h.instance_id = i.id
    WHERE i.id = open_instance.instance_id AND i.status = 'ACTIVE'
        AND i.image_id = ANY (open_instance.image_ids)
        AND i.notice IS DISTINCT FROM 'INTERRUPTION'
        AND h.beat_at >= open_instance.beat_since
    LIMIT 1
$$;

-- Instances with free slots, by id. Reads the index of free slots in its order,
-- so that whoever stops early has paid for no more than was read, however large
-- the region is. That is why callers turn off the plans that read all of it
-- first: the planner does not know how early they stop.
CREATE FUNCTION internal.with_room(region text, after_id text)
RETURNS TABLE (instance_id text, free bigint)
LANGUAGE sql STABLE AS $$
    SELECT s.instance_id, count(*) FROM slots s
    WHERE s.region = with_room.region AND s.status = 'WAITING'
        AND s.instance_id > with_room.after_id
    GROUP BY s.instance_id ORDER BY s.instance_id
$$;

-- Takes one free slot of an instance that is still ACTIVE, or answers null.
-- The instance first, shared, so that draining it waits for this assign, or
-- this assign sees it draining; then the slot.
CREATE FUNCTION internal.take_slot(instance_id text, user_id text, session_id text)
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

-- The same for one given slot, waiting for whoever holds it or its instance.
CREATE FUNCTION internal.await_slot(slot_id uuid, user_id text, session_id text)
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

-- The look without waiting: page after page, within a page the fullest
-- instance first and then by id, taking what nobody else holds.
--
-- Packing is exact among the first 200 instances with room, by id; beyond, it
-- still fills the lower ids, so that the higher ones empty and can go.
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
        -- Where the next page begins; null after the last.
        SELECT w.instance_id INTO after_id
        FROM internal.with_room(take_any_slot.region, after_id) w
        ORDER BY w.instance_id OFFSET page_size - 1 LIMIT 1;
    END LOOP;
    RETURN NULL;
END
$$;

-- The look that waits, before saying that there is none: a slot that another
-- transaction held a moment ago may have been given back, or its instance only
-- been locked by a pass. Without it, 60 users on 40 slots leave some empty.
--
-- Each attempt is undone before the next, so that a waiting assign holds one
-- instance and nothing else: no two of them can wait for each other. Each wait
-- is bounded by the lock time-out, all of them by a second.
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

-- Whether fewer slots than the target are free on instances of some images,
-- counting no further than it: a cursor, because a loop over a query would read
-- ahead.
CREATE FUNCTION internal.is_below_target(region text, image_ids text[]) RETURNS boolean
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashagg = off SET jit = off
AS $$
DECLARE
    beat_since CONSTANT timestamptz := internal.beat_since(is_below_target.region);
    missing bigint := (SELECT r.target_free FROM regions r WHERE r.name = is_below_target.region);
    room CURSOR FOR
        SELECT w.free FROM internal.with_room(is_below_target.region, '') w
        CROSS JOIN LATERAL internal.open_instance(
            w.instance_id, is_below_target.image_ids, beat_since) o;
    counted bigint;
BEGIN
    OPEN room;
    WHILE missing > 0 LOOP
        FETCH room INTO counted;
        EXIT WHEN NOT FOUND;
        missing := missing - counted;
    END LOOP;
    CLOSE room;
    RETURN missing > 0;
END
$$;

-- Wakes a region, once in two seconds at most, if `image_ids` is null or if the
-- free slots on these images are below target: each image that is served has a
-- buffer of its own. Looked up first: most assigns of a rush then neither count
-- nor wait for the one whose insert is not committed yet. Two assigns that commit
-- in the same moment may each count the other's slot as free; then it is the next
-- assign, or the next scheduled pass, that notices.
CREATE FUNCTION internal.wake(region text, image_ids text[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    this_bucket CONSTANT timestamptz := date_bin('2 seconds', now(), 'epoch');
BEGIN
    IF EXISTS (SELECT FROM region_wakeups w
            WHERE w.region = wake.region AND w.bucket = this_bucket) THEN
        RETURN;
    END IF;
    IF wake.image_ids IS NULL OR internal.is_below_target(wake.region, wake.image_ids) THEN
        INSERT INTO region_wakeups (region, bucket) VALUES (wake.region, this_bucket)
        ON CONFLICT DO NOTHING;
    END IF;
END
$$;

-- The one row that answers an assign; with a slot, also where it is.
CREATE FUNCTION internal.assign_answer(outcome text, slot_id uuid, environment text)
RETURNS SETOF assign_results
LANGUAGE sql STABLE AS $$
    SELECT assign_answer.outcome, s.id, i.ip_addr, i.region, i.id, v.version, v.client_sha
    FROM (SELECT) one
    LEFT JOIN slots s ON s.id = assign_answer.slot_id
    LEFT JOIN instances i ON i.id = s.instance_id
    LEFT JOIN app_versions v ON v.environment = assign_answer.environment
$$;

CREATE FUNCTION assign_slot(user_id text, session_id text, regions jsonb, client_sha text,
    user_limit integer, environment text, local_dev boolean)
RETURNS SETOF assign_results
LANGUAGE plpgsql AS $$
DECLARE
    -- Null asks for the current image, whatever it was built from.
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

    -- One request of a user at a time: the limit is counted and a repeated
    -- request is recognised without a gap. Two users that share a hash only wait.
    PERFORM pg_advisory_xact_lock(hashtextextended(assign_slot.user_id, 0));

    -- The answer was lost, or the user asks again: the same slot, and the time
    -- to claim it anew. An update, so that releasing it cannot come in between.
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

    -- Found nothing: undo the look, and with it the locks that it left behind,
    -- so that the look that waits holds nothing that another one waits for.
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

    -- Served: not waiting any more, under whatever session they asked.
    DELETE FROM waiting_users w WHERE w.user_id = assign_slot.user_id;
    PERFORM internal.wake(candidate, ARRAY(
        SELECT i.image_id FROM slots s JOIN instances i ON i.id = s.instance_id WHERE s.id = taken));
    RETURN QUERY SELECT * FROM internal.assign_answer(
        'ASSIGNED', taken, assign_slot.environment);
END
$$;
COMMENT ON FUNCTION assign_slot IS
    'Gives a user a slot in the first of the regions that has one. ASSIGNED, ALREADY_ASSIGNED, '
    'USER_ALREADY_ACTIVE, REGION_NOT_ENABLED, COMMIT_HASH_MISMATCH, or NO_INSTANCE_AVAILABLE.';
