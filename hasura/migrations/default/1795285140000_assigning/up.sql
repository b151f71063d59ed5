-- Assigning a slot to a user: one call that returns one row. Conditions that are
-- expected in normal operation are outcomes, never errors.

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

-- The ids of a region's images that a client may use: those CURRENT or BAKING images
-- that were built from its `client_sha`. With a null `client_sha` (local development),
-- the CURRENT image.
CREATE FUNCTION internal.images_for(region text, client_sha text) RETURNS text[]
LANGUAGE sql STABLE AS $$
    SELECT coalesce(array_agg(m.image_id), '{}') FROM images m
    WHERE m.region = images_for.region
        AND CASE WHEN images_for.client_sha IS NULL THEN m.state = 'CURRENT'
            ELSE m.state IN ('CURRENT', 'BAKING') AND m.client_sha = images_for.client_sha END
$$;

-- The time from which on a heartbeat is fresh in a region.
CREATE FUNCTION internal.beat_since(region text) RETURNS timestamptz
LANGUAGE sql STABLE AS $$
    SELECT now() - make_interval(secs => r.heartbeat_seconds)
    FROM regions r WHERE r.name = beat_since.region
$$;

-- The instance, if users may be assigned to it: it is ACTIVE, has a fresh heartbeat,
-- runs one of the images, and EC2 is not about to interrupt it. The LIMIT keeps this
-- an index look-up per instance. Without it, the planner may inline the function into
-- a join with all instances.
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

-- Instances with free slots, by id. It reads the index of free slots in order, so a
-- caller that stops early pays only for the rows that it read, however large the
-- region is. Callers disable the plans that read the whole index first, because the
-- planner does not know how early they stop.
CREATE FUNCTION internal.with_room(region text, after_id text)
RETURNS TABLE (instance_id text, free bigint)
LANGUAGE sql STABLE AS $$
    SELECT s.instance_id, count(*) FROM slots s
    WHERE s.region = with_room.region AND s.status = 'WAITING'
        AND s.instance_id > with_room.after_id
    GROUP BY s.instance_id ORDER BY s.instance_id
$$;

-- Allocates one free slot of an ACTIVE instance, or returns null. It never waits for
-- a lock. It locks the instance first, in share mode, and then the slot: either a
-- concurrent drain waits for this assign, or this assign sees the instance DRAINING.
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

-- Like `take_slot`, but for one given slot, and it waits for locks on the slot and on
-- its instance.
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

-- The first search, which skips locked rows instead of waiting. It goes through the
-- instances page by page, and within a page from the fullest instance to the emptiest,
-- then by id.
--
-- Filling the fullest instance first is exact within a page of 200 instances with free
-- slots. Across pages, lower ids fill first, so that instances with higher ids become
-- empty and can be drained.
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

-- The second search, which waits for locks, before the user is refused. A slot that the
-- first search skipped may be free: the transaction that locked it may roll back, or a
-- pass may have locked only its instance. Without this search, 60 users on 40 slots
-- leave some of the slots empty.
--
-- Each failed attempt is rolled back before the next, so that a waiting assign holds a
-- lock on at most one instance. Assigns can therefore not deadlock. The lock timeout
-- bounds each wait, and `give_up_at` bounds all of them.
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

-- Whether the instances of these images have fewer free slots than the target. It
-- stops counting at the target. It uses a cursor, because a FOR loop over a query
-- would prefetch rows.
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

-- Requests a pass for a region, at most once in two seconds, if `image_ids` is null or
-- if the free slots on these images are below the target. Each served image has a
-- buffer of its own, so the images are counted separately.
--
-- The bucket is looked up first. During a rush, most assigns then neither count slots
-- nor wait for another assign's uncommitted insert. Two assigns that commit at the
-- same moment may each count the other's slot as free. The next assign or the next
-- scheduled pass then detects the low buffer.
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

CREATE FUNCTION assign_slot(user_id text, session_id text, regions jsonb, client_sha text,
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
