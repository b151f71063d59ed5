-- The functions, the indexes and the keys as they were before.

DROP FUNCTION internal.wake(text, text);
DROP FUNCTION internal.is_below_target(text, text);
DROP FUNCTION internal.counts_spare_slots(text, text);
DROP TABLE internal.spare_slots;
DROP FUNCTION internal.search_slot(
    internal.served_region[], text, text, boolean, timestamptz);
DROP FUNCTION internal.turn_of(internal.served_region, text, timestamptz, boolean);
DROP FUNCTION internal.enter_gate(bigint);
DROP FUNCTION internal.place_of(internal.served_region, text, timestamptz);
DROP FUNCTION internal.take_free_slot(
    internal.served_region, text, text, text, double precision, text[]);
DROP FUNCTION internal.await_free_slot(
    internal.served_region, text, text, double precision, text[], timestamptz);
DROP FUNCTION internal.demand_region(text[], timestamptz);
DROP FUNCTION internal.forget_gone(internal.served_region, text[], timestamptz);
DROP FUNCTION internal.wait_in_line(internal.served_region[], text, text, timestamptz);
DROP FUNCTION internal.estimate_of(text, text, integer, timestamptz);
DROP FUNCTION internal.free_slots(text, text[], timestamptz);
DROP FUNCTION internal.answer_with_slot(assign_results, uuid);
DROP TYPE internal.taken_slot;
DROP TYPE internal.place_in_line;
DROP TYPE internal.served_region;

CREATE OR REPLACE FUNCTION internal.with_room(region text, after_id text) RETURNS TABLE(instance_id text, free bigint, place bigint)
LANGUAGE sql STABLE
AS $$
    SELECT s.instance_id, count(*),
        -- The fullest comes first. Sessions on some of these slots were short lately: other
        -- instances come first.
        CASE WHEN max(s.free_from) > now() - interval '10 minutes' THEN 1000000 ELSE 0 END + count(*)
    FROM slots s
    WHERE s.region = with_room.region AND s.status = 'WAITING'
        AND (s.free_from IS NULL OR s.free_from <= now())
        AND s.instance_id > with_room.after_id
    GROUP BY s.instance_id ORDER BY s.instance_id
$$;

CREATE OR REPLACE FUNCTION internal.is_below_target(region text, image_ids text[]) RETURNS boolean
LANGUAGE plpgsql
SET enable_seqscan = 'off'
SET enable_bitmapscan = 'off'
SET enable_hashagg = 'off'
SET jit = 'off'
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

CREATE OR REPLACE FUNCTION internal.wake(region text, image_ids text[]) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    this_bucket CONSTANT timestamptz := date_bin('2 seconds', internal.clock(), 'epoch');
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

CREATE OR REPLACE FUNCTION internal.images_for(region text, client_sha text) RETURNS text[]
LANGUAGE sql STABLE
AS $$
    SELECT coalesce(array_agg(m.image_id), '{}') FROM images m
    WHERE m.region = images_for.region
        AND CASE WHEN images_for.client_sha IS NULL THEN m.state = 'CURRENT'
            ELSE m.state IN ('CURRENT', 'BAKING') AND m.client_sha = images_for.client_sha END
$$;

CREATE OR REPLACE FUNCTION internal.enabled_regions(regions jsonb) RETURNS text[]
LANGUAGE sql STABLE
AS $$
    SELECT coalesce(array_agg(r.name ORDER BY a.place), '{}')
    FROM (
        SELECT e.value AS name, min(e.ordinality) AS place
        FROM jsonb_array_elements_text(enabled_regions.regions) WITH ORDINALITY e
        GROUP BY e.value
    ) a
    JOIN public.regions r ON r.name = a.name AND r.enabled
$$;

CREATE OR REPLACE FUNCTION internal.serving_regions(regions text[], client_sha text) RETURNS text[]
LANGUAGE sql STABLE
AS $$
    SELECT coalesce(array_agg(a.name ORDER BY a.place), '{}')
    FROM unnest(serving_regions.regions) WITH ORDINALITY a (name, place)
    WHERE internal.images_for(a.name, serving_regions.client_sha) <> '{}'
$$;

CREATE OR REPLACE FUNCTION internal.assign_refusal(user_id text, user_limit integer, asked text[], serving text[], client_sha text) RETURNS text
LANGUAGE sql STABLE
AS $$
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

CREATE OR REPLACE FUNCTION internal.take_slot(instance_id text, user_id text, session_id text) RETURNS uuid
LANGUAGE plpgsql
AS $$
DECLARE
    taken uuid;
BEGIN
    PERFORM FROM instances i WHERE i.id = take_slot.instance_id AND i.status = 'ACTIVE'
    FOR SHARE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT s.id INTO taken FROM slots s
    WHERE s.instance_id = take_slot.instance_id AND internal.is_free(s.status, s.free_from)
    ORDER BY s.id LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
        UPDATE slots s
        SET status = 'ALLOCATED', user_id = take_slot.user_id, session_id = take_slot.session_id,
            allocated_at = internal.clock(), first_allocated_at = internal.clock()
        WHERE s.id = taken;
    END IF;
    RETURN taken;
END
$$;

CREATE OR REPLACE FUNCTION internal.take_any_slot(region text, image_ids text[], user_id text, session_id text, avoid text[]) RETURNS uuid
LANGUAGE plpgsql
SET enable_seqscan = 'off'
SET enable_bitmapscan = 'off'
SET enable_hashagg = 'off'
SET jit = 'off'
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
                SELECT f.instance_id, f.place
                FROM (
                    SELECT w.instance_id, w.place
                    FROM internal.with_room(take_any_slot.region, after_id) w
                    ORDER BY w.instance_id LIMIT page_size
                ) f
                ORDER BY f.place, f.instance_id
            ) p
            CROSS JOIN LATERAL internal.open_instance(
                p.instance_id, take_any_slot.image_ids, beat_since) o
            ORDER BY p.place, p.instance_id
        LOOP
            CONTINUE WHEN candidate.instance_id = ANY (take_any_slot.avoid);
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

CREATE OR REPLACE FUNCTION internal.await_slot(slot_id uuid, user_id text, session_id text) RETURNS uuid
LANGUAGE plpgsql
AS $$
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
        allocated_at = internal.clock(), first_allocated_at = internal.clock()
    WHERE s.id = await_slot.slot_id AND internal.is_free(s.status, s.free_from);
    RETURN CASE WHEN FOUND THEN await_slot.slot_id END;
END
$$;

CREATE OR REPLACE FUNCTION internal.await_any_slot(region text, image_ids text[], user_id text, session_id text, avoid text[], give_up_at timestamptz) RETURNS uuid
LANGUAGE plpgsql
SET enable_seqscan = 'off'
SET enable_bitmapscan = 'off'
SET enable_hashagg = 'off'
SET jit = 'off'
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
            SELECT w.instance_id, w.place
            FROM internal.with_room(await_any_slot.region, '') w
            CROSS JOIN LATERAL internal.open_instance(
                w.instance_id, await_any_slot.image_ids, beat_since) o
            WHERE w.instance_id <> ALL (await_any_slot.avoid)
            ORDER BY w.instance_id LIMIT 500
        ) p
        JOIN slots s ON s.instance_id = p.instance_id
            AND internal.is_free(s.status, s.free_from)
        ORDER BY p.place, p.instance_id, s.id
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

CREATE OR REPLACE FUNCTION internal.search_slot(regions text[], client_sha text, user_id text, session_id text) RETURNS uuid
LANGUAGE plpgsql
AS $$
DECLARE
    candidate text;
    avoid text[];
    barred text[];
    give_up_at timestamptz;
    taken uuid;
BEGIN
    SELECT coalesce(array_agg(f.instance_id), '{}'),
        coalesce(array_agg(f.instance_id) FILTER (WHERE f.barred_until > now()), '{}')
    INTO avoid, barred
    FROM internal.failed_sessions f
    WHERE f.user_id = search_slot.user_id AND f.failed_at > now() - interval '10 minutes';
    BEGIN
        LOOP
            FOREACH candidate IN ARRAY search_slot.regions LOOP
                taken := internal.take_any_slot(candidate,
                    internal.images_for(candidate, search_slot.client_sha),
                    search_slot.user_id, search_slot.session_id, avoid);
                IF taken IS NOT NULL THEN
                    RETURN taken;
                END IF;
            END LOOP;
            EXIT WHEN avoid = barred;
            avoid := barred;
        END LOOP;
        RAISE EXCEPTION USING ERRCODE = 'no_data_found';
    EXCEPTION WHEN no_data_found THEN
        NULL;
    END;
    give_up_at := clock_timestamp() + interval '1 second';
    FOREACH candidate IN ARRAY search_slot.regions LOOP
        taken := internal.await_any_slot(candidate,
            internal.images_for(candidate, search_slot.client_sha),
            search_slot.user_id, search_slot.session_id, barred, give_up_at);
        EXIT WHEN taken IS NOT NULL;
    END LOOP;
    RETURN taken;
END
$$;

CREATE OR REPLACE FUNCTION internal.forget_waiting(region text, at timestamptz, most integer) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    DELETE FROM waiting_users u WHERE (u.user_id, u.region) IN (
        SELECT o.user_id, o.region FROM waiting_users o
        WHERE o.region = forget_waiting.region AND o.last_at < forget_waiting.at - interval '1 hour'
        ORDER BY o.last_at, o.user_id LIMIT forget_waiting.most FOR UPDATE SKIP LOCKED);
END
$$;

CREATE OR REPLACE FUNCTION internal.wait_for_slot(user_id text, session_id text, region text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    at CONSTANT timestamptz := internal.clock();
BEGIN
    PERFORM internal.forget_waiting(wait_for_slot.region, at, 5);
    INSERT INTO waiting_users AS w (user_id, session_id, region, first_at, last_at)
    VALUES (wait_for_slot.user_id, wait_for_slot.session_id, wait_for_slot.region, at, at)
    ON CONFLICT ON CONSTRAINT waiting_users_pkey DO UPDATE SET
        session_id = excluded.session_id,
        first_at = CASE WHEN w.last_at < at - interval '1 hour' THEN at ELSE w.first_at END,
        last_at = excluded.last_at;
    PERFORM internal.wake(wait_for_slot.region, NULL);
END
$$;

CREATE OR REPLACE FUNCTION internal.prune(region text) RETURNS void
LANGUAGE sql
AS $$
    DELETE FROM region_wakeups w WHERE (w.region, w.bucket) IN (
        SELECT o.region, o.bucket FROM region_wakeups o
        WHERE o.region = prune.region AND o.bucket < now() - interval '1 hour'
        ORDER BY o.bucket LIMIT 2000 FOR UPDATE SKIP LOCKED);
    SELECT internal.forget_waiting(prune.region, now(), 2000);
$$;

ALTER TABLE assign_results
    DROP COLUMN place,
    DROP COLUMN estimate_seconds,
    DROP COLUMN line_seconds,
    DROP COLUMN waited_seconds;

CREATE OR REPLACE FUNCTION internal.assign_answer(outcome text, slot_id uuid, environment text, nearest text) RETURNS SETOF assign_results
LANGUAGE sql STABLE
AS $$
    SELECT assign_answer.outcome, s.id, i.ip_addr, i.region, i.id, v.version, v.client_sha,
        assign_answer.nearest
    FROM (SELECT) one
    LEFT JOIN slots s ON s.id = assign_answer.slot_id
    LEFT JOIN instances i ON i.id = s.instance_id
    LEFT JOIN app_versions v ON v.environment = assign_answer.environment
$$;

CREATE OR REPLACE FUNCTION assign_slot(user_id text, session_id text, regions jsonb, client_sha text, user_limit integer, environment text, local_dev boolean) RETURNS SETOF assign_results
LANGUAGE plpgsql
AS $$
DECLARE
    -- Null selects the current image, regardless of the commit it was built from.
    wanted_sha CONSTANT text := CASE WHEN coalesce(assign_slot.local_dev, false) THEN NULL
        ELSE coalesce(assign_slot.client_sha, '') END;
    asked text[];
    serving text[];
    held slots;
    claim interval;
    held_too_long boolean;
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
    -- slot and a new claim period, but never more than three periods in all. The slot is
    -- locked, so that neither a concurrent pass can release it nor its agent claim it in
    -- between.
    SELECT s.* INTO held FROM slots s
    WHERE s.user_id = assign_slot.user_id AND s.session_id = assign_slot.session_id
        AND s.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING')
    FOR NO KEY UPDATE;
    IF held.status = 'ALLOCATED' THEN
        SELECT make_interval(secs => r.claim_seconds) INTO claim
        FROM public.regions r WHERE r.name = held.region;
        held_too_long := held.first_allocated_at + 3 * claim <= internal.clock();
    END IF;
    IF held.status IN ('CONNECTING', 'RUNNING')
        OR (held_too_long IS NOT TRUE AND internal.is_open(held.instance_id))
    THEN
        UPDATE slots s SET allocated_at = greatest(s.allocated_at,
            least(internal.clock(), s.first_allocated_at + 2 * claim))
        WHERE s.id = held.id AND s.status = 'ALLOCATED';
        RETURN QUERY SELECT * FROM internal.assign_answer(
            'ALREADY_ASSIGNED', held.id, assign_slot.environment, asked[1]);
        RETURN;
    END IF;
    -- Nobody connected to this slot yet, and its instance is silent or leaves, or the user had it for
    -- long enough: they get another one. A session holds one slot at a time, so this one is freed first.
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
    IF taken IS NULL AND held_too_long IS NOT TRUE AND internal.is_alive(held.instance_id) THEN
        UPDATE slots s SET status = 'ALLOCATED', user_id = assign_slot.user_id,
            session_id = assign_slot.session_id, first_allocated_at = held.first_allocated_at,
            allocated_at = greatest(held.allocated_at,
                least(internal.clock(), held.first_allocated_at + 2 * claim))
        WHERE s.id = held.id;
        RETURN QUERY SELECT * FROM internal.assign_answer(
            'ALREADY_ASSIGNED', held.id, assign_slot.environment, asked[1]);
        RETURN;
    END IF;

    IF taken IS NOT NULL THEN
        -- The user is served, so they wait nowhere any more.
        DELETE FROM waiting_users w WHERE w.user_id = assign_slot.user_id;
        PERFORM internal.wake(i.region, ARRAY[i.image_id])
        FROM slots s JOIN instances i ON i.id = s.instance_id WHERE s.id = taken;
    ELSIF refusal IS NULL THEN
        PERFORM internal.wait_for_slot(assign_slot.user_id, assign_slot.session_id, serving[1]);
        refusal := 'NO_INSTANCE_AVAILABLE';
    END IF;
    RETURN QUERY SELECT * FROM internal.assign_answer(
        coalesce(refusal, 'ASSIGNED'), taken, assign_slot.environment, asked[1]);
END
$$;

CREATE OR REPLACE FUNCTION internal.slot_is_released() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    at CONSTANT timestamptz := internal.clock();
    claim interval;
    rule_applies boolean;
BEGIN
    SELECT make_interval(secs => r.claim_seconds), r.quick_end_seconds > 0 INTO claim, rule_applies
    FROM regions r WHERE r.name = OLD.region;
    IF OLD.allocated_at + claim <= at THEN
        PERFORM internal.note_failed_session(OLD.user_id, OLD.instance_id, false, at,
            CASE WHEN OLD.first_allocated_at + 3 * claim <= at THEN at + claim END);
        IF rule_applies THEN
            NEW.free_from := at;
        END IF;
    END IF;
    NEW.first_allocated_at := NULL;
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION internal.is_alive(instance_id text) RETURNS boolean
LANGUAGE sql STABLE
AS $$
    SELECT EXISTS (
        SELECT FROM instances i JOIN heartbeats h ON h.instance_id = i.id
        WHERE i.id = is_alive.instance_id AND i.status IN ('ACTIVE', 'DRAINING')
            AND h.beat_at >= internal.beat_since(i.region))
$$;

CREATE OR REPLACE FUNCTION own_instance(instance_id text, hasura_session json) RETURNS SETOF own_instances
LANGUAGE sql
AS $$
    SELECT i.id, i.status, i.notice, coalesce((
        SELECT jsonb_agg(jsonb_build_object('id', s.id, 'status', s.status,
            'user_id', s.user_id, 'session_id', s.session_id) ORDER BY s.id)
        FROM slots s WHERE s.instance_id = i.id), '[]')
    FROM instances i
    WHERE i.id = own_instance.instance_id
        AND internal.is_own(i, own_instance.hasura_session)
$$;

CREATE OR REPLACE FUNCTION drain_instances(region text, version bigint, ids jsonb, cause text) RETURNS SETOF write_results
LANGUAGE plpgsql
SET lock_timeout = '500ms'
AS $$
DECLARE
    given CONSTANT text[] := internal.ids_of(drain_instances.ids);
    locked text[];
    results write_results[];
BEGIN
    IF internal.fenced(drain_instances.region, drain_instances.version) THEN
        RETURN QUERY SELECT drain_instances.region, 'FENCED';
        RETURN;
    END IF;
    locked := internal.try_lock_instances(drain_instances.region, given);
    results := ARRAY(
        SELECT ROW(g.id, CASE
                WHEN i.id IS NULL THEN 'UNKNOWN'
                WHEN i.status = 'DRAINING' THEN 'ALREADY'
                WHEN i.status = 'TERMINATING' THEN 'WRONG_STATE'
                -- Users on an instance that EC2 is about to take lose it anyway, and those on a
                -- suspect stay. Draining it keeps other users from being assigned to it.
                WHEN i.notice IS NULL AND drain_instances.cause IS DISTINCT FROM 'SUSPECT'
                    AND internal.is_occupied(i.id) THEN 'OCCUPIED'
                WHEN i.id <> ALL (locked) THEN 'BUSY'
                ELSE 'DONE'
            END)::write_results
        FROM unnest(given) AS g (id)
        LEFT JOIN instances i ON i.id = g.id AND i.region = drain_instances.region
        ORDER BY g.id);
    UPDATE instances i SET status = 'DRAINING', draining_since = internal.clock(),
        drain_cause = drain_instances.cause
    FROM unnest(results) r WHERE i.id = r.id AND r.outcome = 'DONE';
    RETURN QUERY SELECT * FROM unnest(results);
EXCEPTION WHEN lock_not_available THEN
    RETURN QUERY SELECT * FROM internal.all_busy(given);
END
$$;

CREATE OR REPLACE FUNCTION reopen_instances(region text, version bigint, ids jsonb)
RETURNS SETOF write_results
LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$
DECLARE
    given CONSTANT text[] := internal.ids_of(reopen_instances.ids);
    locked text[];
    results write_results[];
BEGIN
    IF internal.fenced(reopen_instances.region, reopen_instances.version) THEN
        RETURN QUERY SELECT reopen_instances.region, 'FENCED';
        RETURN;
    END IF;
    locked := internal.try_lock_instances(reopen_instances.region, given);
    results := ARRAY(
        SELECT ROW(g.id, CASE
                WHEN i.id IS NULL THEN 'UNKNOWN'
                WHEN i.status = 'ACTIVE' THEN 'ALREADY'
                WHEN NOT coalesce(i.status = 'DRAINING' AND i.drain_cause = 'SURPLUS'
                    AND i.notice IS NULL AND h.beat_at < i.draining_since
                    AND h.beat_at >= now() - make_interval(secs => r.heartbeat_seconds), false)
                    THEN 'WRONG_STATE'
                WHEN i.id <> ALL (locked) THEN 'BUSY'
                ELSE 'DONE'
            END)::write_results
        FROM unnest(given) AS g (id)
        LEFT JOIN instances i ON i.id = g.id AND i.region = reopen_instances.region
        LEFT JOIN regions r ON r.name = i.region
        LEFT JOIN heartbeats h ON h.instance_id = i.id
        ORDER BY g.id);
    UPDATE instances i SET status = 'ACTIVE', draining_since = NULL, drain_cause = NULL
    FROM unnest(results) r WHERE i.id = r.id AND r.outcome = 'DONE';
    RETURN QUERY SELECT * FROM unnest(results);
EXCEPTION WHEN lock_not_available THEN
    RETURN QUERY SELECT * FROM internal.all_busy(given);
END
$$;

CREATE FUNCTION internal.slot_takes_region() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    SELECT i.region INTO NEW.region FROM instances i WHERE i.id = NEW.instance_id;
    -- For an unknown instance, the foreign key's error is clearer than one about a
    -- null region.
    NEW.region := coalesce(NEW.region, '');
    RETURN NEW;
END
$$;

DROP TRIGGER instances_followed_by_slots ON instances;
DROP FUNCTION internal.slots_follow_instance();
DROP TRIGGER slots_copy_instance ON slots;
DROP FUNCTION internal.slot_copies_instance();
CREATE TRIGGER slots_take_region BEFORE INSERT OR UPDATE OF instance_id, region ON slots
    FOR EACH ROW EXECUTE FUNCTION internal.slot_takes_region();

DROP TRIGGER images_serve ON images;
DROP FUNCTION internal.image_serves();
DROP TRIGGER regions_serve ON regions;
DROP FUNCTION internal.region_serves();
DROP FUNCTION internal.serve_hashes(text);
DROP TABLE internal.served_hashes;

DROP TABLE internal.region_capacity;
DROP TABLE internal.line_forecasts;

-- A user had one row in each region.
DROP INDEX waiting_users_line;
ALTER TABLE waiting_users RESET (fillfactor);
DELETE FROM waiting_users w USING waiting_users o
WHERE o.user_id = w.user_id AND o.region = w.region AND o.client_sha < w.client_sha;
ALTER TABLE waiting_users
    DROP CONSTRAINT waiting_users_pkey,
    DROP COLUMN client_sha,
    DROP COLUMN regions,
    DROP COLUMN barred_until,
    ADD CONSTRAINT waiting_users_pkey PRIMARY KEY (user_id, region);
CREATE INDEX waiting_users_region ON waiting_users (region, last_at);

DROP INDEX instances_interrupted;
DROP INDEX slots_free;
ALTER TABLE slots
    DROP COLUMN image_id,
    DROP COLUMN instance_active,
    DROP COLUMN waited_seconds;
CREATE INDEX slots_free ON slots (region, instance_id) INCLUDE (free_from)
    WHERE status = 'WAITING';

ALTER TABLE regions DROP COLUMN line_seconds;
