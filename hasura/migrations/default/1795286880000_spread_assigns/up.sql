-- Assigns at the same moment get out of each other's way, and a refusal does two thirds as much.
--
-- All assigns began at the same end of the index: 32 of them at once passed over seven slots that others held, and
-- over twenty that others had just taken. And an assign reads less: not the app version, which only tells a client
-- that it is too old, and one row instead of three says that nobody needs to wake the region.
--
-- A refusal searches nothing while no slot is free at all, and one statement finds the place and its estimate.

-- The first free slots of an image, in the order of their instances: what an assign chooses from. All slots of
-- the last instance are among them, so that those of each are complete.
DROP FUNCTION internal.first_free(text, text, integer);
CREATE FUNCTION internal.first_free(region text, image_id text, from_id text, most integer)
RETURNS TABLE (instance_id text, free_from timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT s.instance_id, s.free_from FROM slots s
    WHERE s.region = first_free.region AND s.image_id = first_free.image_id
        AND s.instance_id >= first_free.from_id
        AND s.instance_active AND internal.is_free(s.status, s.free_from)
    ORDER BY s.instance_id FETCH FIRST first_free.most ROWS WITH TIES
$$;

-- Takes a free slot of an image, of the fullest instance. "Fullest" is exact among the instances of a window: at
-- least 16 free slots, in the order of instance ids. Instances with short sessions come after the others. While
-- others assign in this region, the window begins at one of four places, and chance decides between equally full
-- instances. If others hold all of its slots at this moment, all would meet at the next fullest one again: each
-- assign goes its own way through a larger window then.
CREATE OR REPLACE FUNCTION internal.take_free_slot(
    area internal.served_region, image_id text, user_id text, session_id text,
    waited_seconds double precision, avoid text[])
RETURNS internal.taken_slot
LANGUAGE plpgsql AS $$
DECLARE
    -- Held until this transaction ends. Others are not kept from assigning by it: they learn of this one.
    is_crowded CONSTANT boolean := NOT pg_try_advisory_xact_lock(1, hashtext(area.region));
    -- 'i-0' is followed by random hexadecimal digits.
    from_id text := CASE WHEN is_crowded
        THEN (ARRAY['', 'i-04', 'i-08', 'i-0c'])[1 + floor(random() * 4)::integer] ELSE '' END;
    window_size integer := 16;
    seen bigint;
    held bigint;
    is_shuffled boolean := false;
    taken internal.taken_slot;
BEGIN
    LOOP
        -- MATERIALIZED, so that one slot is chosen once, whatever the plan begins with.
        WITH chosen AS MATERIALIZED (
            SELECT f.row_at, o.ip_addr
            FROM (
                SELECT w.instance_id
                FROM internal.first_free(
                    area.region, take_free_slot.image_id, from_id, window_size) w
                GROUP BY w.instance_id
                ORDER BY (max(w.free_from) > now() - interval '10 minutes') IS TRUE,
                    CASE WHEN is_shuffled THEN 0 ELSE count(*) END,
                    CASE WHEN is_crowded THEN random() ELSE 0 END, w.instance_id
            ) c
            -- Each is looked at by itself, so that the order holds: a join could begin with any table. Only slots
            -- of those that take users are locked, until there is one.
            CROSS JOIN LATERAL (
                SELECT i.id, i.ip_addr
                FROM instances i JOIN heartbeats h ON h.instance_id = i.id
                WHERE i.id = c.instance_id AND i.id <> ALL (avoid)
                    AND i.notice IS DISTINCT FROM 'INTERRUPTION' AND h.beat_at >= area.beat_since
                OFFSET 0
            ) o
            CROSS JOIN LATERAL (
                -- With region and image, so that either index finds them: a plan that was made while few slots were
                -- free would read all of the free ones.
                SELECT f.ctid AS row_at FROM slots f
                WHERE f.region = area.region AND f.image_id = take_free_slot.image_id
                    AND f.instance_id = o.id AND f.instance_active
                    AND internal.is_free(f.status, f.free_from)
                ORDER BY f.id LIMIT 1 FOR UPDATE SKIP LOCKED
            ) f
            LIMIT 1
        )
        UPDATE slots s
        SET status = 'ALLOCATED', user_id = take_free_slot.user_id,
            session_id = take_free_slot.session_id, allocated_at = internal.clock(),
            first_allocated_at = internal.clock(), waited_seconds = take_free_slot.waited_seconds
        FROM chosen c WHERE s.ctid = c.row_at
        RETURNING s.id, s.region, s.image_id, s.instance_id, c.ip_addr INTO taken;
        IF taken.id IS NOT NULL THEN
            RETURN taken;
        END IF;
        IF from_id <> '' THEN
            from_id := '';
            CONTINUE;
        END IF;
        -- What the window had: others hold it, or its instances take no users. It may be another one by now,
        -- so that slots which nobody holds are looked at once more.
        SELECT count(*), count(*) FILTER (WHERE w.instance_id <> ALL (avoid) AND EXISTS (
            SELECT FROM internal.open_instance(w.instance_id, area.image_ids, area.beat_since)))
        INTO seen, held
        FROM internal.first_free(area.region, take_free_slot.image_id, from_id, window_size) w;
        IF seen < window_size AND (is_shuffled OR held = 0) THEN
            RETURN NULL;
        END IF;
        is_shuffled := held > 0;
        window_size := 4 * window_size;
    END LOOP;
END
$$;

-- Says until when users who are served need not wake the region: from `renew_at` on, one of them looks again, while
-- the others still rely on it. At most one transaction writes this, and nobody waits for it.
CREATE FUNCTION internal.rest(region text, image_id text, renew_at timestamptz, until timestamptz)
RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF until > internal.clock() AND internal.counts_spare_slots(rest.region, rest.image_id) THEN
        INSERT INTO internal.spare_slots AS p (region, image_id, renew_at, until)
        VALUES (rest.region, rest.image_id, rest.renew_at, rest.until)
        ON CONFLICT ON CONSTRAINT spare_slots_pkey DO UPDATE SET
            renew_at = excluded.renew_at, until = excluded.until;
    END IF;
END
$$;

-- As before, but the count is relied on until `no_later_than` at most. Null is no such limit.
DROP FUNCTION internal.is_below_target(text, text);
CREATE FUNCTION internal.is_below_target(region text, image_id text, no_later_than timestamptz)
RETURNS boolean
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $$
DECLARE
    not_relied_on CONSTANT integer := 16;
    lasts interval;
    at CONSTANT timestamptz := internal.clock();
    target integer;
    leaving bigint;
    free bigint;
BEGIN
    SELECT r.target_free INTO target FROM regions r WHERE r.name = is_below_target.region;
    SELECT coalesce(sum(f.slots), 0) INTO leaving
    FROM instances i
    CROSS JOIN LATERAL (
        SELECT count(*) AS slots FROM slots s
        WHERE s.region = i.region AND s.image_id = i.image_id AND s.instance_id = i.id
            AND s.instance_active AND internal.is_free(s.status, s.free_from)
    ) f
    WHERE i.region = is_below_target.region AND i.image_id = is_below_target.image_id
        AND i.notice = 'INTERRUPTION';
    SELECT count(*) - leaving INTO free FROM (
        SELECT FROM slots s
        WHERE s.region = is_below_target.region AND s.image_id = is_below_target.image_id
            AND s.instance_active AND internal.is_free(s.status, s.free_from)
        -- Not more, however many are free: it would take long.
        LIMIT 2 * target + 1000 + leaving
    ) s;
    lasts := (free - target - not_relied_on) * interval '1 second' / 5000;
    PERFORM internal.rest(is_below_target.region, is_below_target.image_id,
        least(at + lasts * 0.75, no_later_than), least(at + lasts, no_later_than));
    RETURN free < target;
END
$$;

-- As before, but one row says until when nobody needs to do so, whatever the reason: enough slots are free, the
-- region was woken in these two seconds, or a pass has just observed an adaptive region.
CREATE OR REPLACE FUNCTION internal.wake(region text, image_id text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    at CONSTANT timestamptz := internal.clock();
    this_bucket CONSTANT timestamptz := date_bin('2 seconds', at, 'epoch');
    is_needed boolean := wake.image_id IS NULL;
    is_woken boolean;
    -- When users who are served wake an adaptive region in any case.
    due timestamptz;
BEGIN
    is_woken := EXISTS (SELECT FROM region_wakeups w
        WHERE w.region = wake.region AND w.bucket = this_bucket);
    IF NOT is_woken AND NOT is_needed THEN
        IF EXISTS (SELECT FROM internal.spare_slots p
            WHERE p.region = wake.region AND p.image_id = wake.image_id
                AND p.until > at AND (p.renew_at > at
                    OR NOT internal.counts_spare_slots(wake.region, wake.image_id)))
        THEN
            RETURN;
        END IF;
        -- A third of the time between scheduled passes after the last one. Until a woken pass comes, its
        -- wake-up counts. Times ahead of a clock that was set back count as now.
        SELECT least(at, greatest(f.last_pass_at, (
                SELECT max(w.bucket) FROM region_wakeups w WHERE w.region = r.name), '-infinity'))
            + make_interval(secs => r.pass_seconds / 3.0)
        INTO due
        FROM regions r LEFT JOIN region_fences f ON f.region = r.name
        WHERE r.name = wake.region AND r.algorithm = 'adaptive';
        is_needed := coalesce(due <= at, false)
            OR internal.is_below_target(wake.region, wake.image_id, due);
    END IF;
    IF NOT is_woken AND is_needed AND pg_try_advisory_xact_lock(
        hashtextextended('wake ' || wake.region || ' ' || this_bucket::text, 0))
    THEN
        INSERT INTO region_wakeups (region, bucket) VALUES (wake.region, this_bucket)
        ON CONFLICT DO NOTHING;
        is_woken := true;
    END IF;
    IF is_woken AND wake.image_id IS NOT NULL THEN
        PERFORM internal.rest(wake.region, wake.image_id,
            this_bucket + interval '2 seconds', this_bucket + interval '2 seconds');
    END IF;
END
$$;

-- As before, but only rows that are deleted leave the line: who comes back begins with a new row.
DROP TRIGGER waiting_users_come_back ON waiting_users;
-- For all rows of a statement together: those of one visit may be deleted at once, in any order.
CREATE OR REPLACE FUNCTION internal.users_left_line() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    at CONSTANT timestamptz := internal.clock();
    ended waiting_users[];
BEGIN
    SELECT array_agg(g) INTO ended FROM gone g;
    IF ended IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO internal.unserved_users (user_id, region, first_at, last_at, left_at)
    SELECT w.user_id, w.region, w.first_at, w.last_at, least(w.last_at + l.line, at)
    FROM (
        SELECT e.*, count(*) OVER (PARTITION BY e.user_id) AS rows, e AS whole FROM unnest(ended) e
    ) w
    JOIN regions r ON r.name = w.region
    CROSS JOIN LATERAL (SELECT make_interval(secs => r.line_seconds) AS line) l
    WHERE w.region = w.regions[1]
        AND internal.is_own_visit(w.whole, l.line)
        AND (w.rows = 1 OR NOT EXISTS (SELECT FROM unnest(ended) o
            WHERE o.user_id = w.user_id AND o.last_at > w.last_at
                AND o.first_at <= w.last_at + l.line))
        -- A user who gets a slot leaves all lines in the same transaction. Who had left them before, and
        -- gets one as a newcomer, did not wait for it.
        AND NOT EXISTS (SELECT FROM slots s
            WHERE s.user_id = w.user_id AND s.status = 'ALLOCATED' AND s.first_allocated_at >= now()
                AND s.first_allocated_at > w.last_at
                AND (s.waited_seconds > 0 OR w.last_at + l.line >= at));
    RETURN NULL;
END
$$;

-- The users before a place in line, as a view that the planner expands: how many of them still ask, counted up to
-- 1,000; some of those who have left; and how many rows were looked at, `most` at most.
CREATE FUNCTION internal.users_before(
    region text, client_sha text, first_at timestamptz, user_id text, at timestamptz,
    asked_since timestamptz, most integer)
RETURNS TABLE (still_ask bigint, gone text[], seen bigint)
LANGUAGE sql STABLE AS $$
    SELECT least(1000, count(*) FILTER (WHERE b.last_at >= users_before.asked_since
            AND (b.barred_until IS NULL OR b.barred_until <= users_before.at))),
        (array_agg(b.user_id) FILTER (WHERE b.last_at < users_before.asked_since))[1:10],
        count(*)
    FROM (
        SELECT w.user_id, w.last_at, w.barred_until FROM waiting_users w
        WHERE w.region = users_before.region AND w.client_sha = users_before.client_sha
            AND w.first_at <= users_before.first_at
            AND (w.first_at, w.user_id) < (users_before.first_at, users_before.user_id)
        ORDER BY w.first_at LIMIT users_before.most
    ) b
$$;

-- In how many seconds there is a slot for a user with so many ahead, by the last pass's forecast; null if that is
-- unknown. A view, too.
CREATE FUNCTION internal.forecast_for(region text, client_sha text, ahead bigint, at timestamptz)
RETURNS TABLE (seconds integer)
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN count(*) > 0
        THEN greatest(1, ceil(extract(epoch FROM min(u.at) - forecast_for.at)))::integer END
    FROM internal.line_forecasts f
    CROSS JOIN LATERAL (
        -- Slots that were expected until now are in other hands, or late: those ahead get them.
        SELECT coalesce(max(p.slots), 0) AS slots FROM unnest(f.at, f.slots) AS p (at, slots)
        WHERE p.at <= forecast_for.at
    ) past
    CROSS JOIN LATERAL unnest(f.at, f.slots) AS u (at, slots)
    WHERE f.region = forecast_for.region AND f.client_sha = forecast_for.client_sha
        AND f.made_at >= forecast_for.at - interval '2 minutes'
        AND u.at > forecast_for.at AND u.slots - past.slots > forecast_for.ahead
$$;
CREATE OR REPLACE FUNCTION internal.estimate_of(
    region text, client_sha text, place integer, at timestamptz)
RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT f.seconds FROM internal.forecast_for(
        estimate_of.region, estimate_of.client_sha, estimate_of.place - 1, estimate_of.at) f
$$;

-- As before. Who has left the line is of interest to a refusal only.
ALTER TYPE internal.place_in_line DROP ATTRIBUTE gone;
CREATE OR REPLACE FUNCTION internal.place_of(
    area internal.served_region, user_id text, at timestamptz)
RETURNS internal.place_in_line
LANGUAGE plpgsql STABLE AS $$
DECLARE
    -- A place further back than this is not counted, and gets no slot yet: ...
    furthest CONSTANT integer := 1000;
    -- ... this many are looked at first, with those who have left.
    looked_at integer := 1100;
    asked_since CONSTANT timestamptz :=
        place_of.at - make_interval(secs => area.line_seconds);
    place internal.place_in_line;
    seen bigint;
BEGIN
    LOOP
        -- All in one statement: the users ahead and the free slots must be counted in the same moment. Otherwise
        -- somebody who is served in between is missing among the users, and their slot still counts.
        SELECT own.first_at, b.still_ask, f.free, b.seen
        INTO place.first_at, place.ahead, place.free, seen
        FROM (
            -- OFFSET: a user has few rows, a line may have thousands; and once, however often it is named.
            SELECT (
                SELECT w.first_at
                FROM (SELECT u.* FROM waiting_users u WHERE u.user_id = place_of.user_id OFFSET 0) w
                WHERE w.region = area.region AND w.client_sha = area.client_sha
                    AND w.last_at >= asked_since
            ) AS first_at OFFSET 0
        ) own
        CROSS JOIN LATERAL internal.users_before(area.region, area.client_sha,
            coalesce(own.first_at, 'infinity'), place_of.user_id, place_of.at, asked_since, looked_at) b
        CROSS JOIN LATERAL (
            SELECT count(*) AS free FROM (
                SELECT FROM internal.free_slots(area.region, area.image_ids, area.beat_since)
                LIMIT CASE WHEN b.still_ask < furthest THEN b.still_ask + 1 ELSE 0 END
            ) s
        ) f;
        -- So many have left that not all who are ahead were looked at.
        EXIT WHEN seen < looked_at OR place.ahead = furthest;
        looked_at := NULL;
    END LOOP;
    RETURN place;
END
$$;

-- Puts a refused user in the line of each region that could serve them, or notes that they still ask, and wakes the
-- first, and where the user is demand. `in_line`: whether they have a row in any line. Answers with the line in
-- which the user may expect a slot soonest.
DROP FUNCTION internal.wait_in_line(internal.served_region[], text, text, timestamptz);
CREATE FUNCTION internal.wait_in_line(
    answer assign_results, serving internal.served_region[], user_id text, session_id text,
    barred_until timestamptz, in_line boolean)
RETURNS assign_results
LANGUAGE plpgsql AS $$
DECLARE
    at CONSTANT timestamptz := internal.clock();
    never CONSTANT integer := 2147483647;
    -- As in `internal.place_of`.
    furthest CONSTANT integer := 1000;
    looked_at integer;
    names text[];
    area internal.served_region;
    asked_since timestamptz;
    since timestamptz;
    -- Null for a line in which the user is new.
    first_at timestamptz[];
    line record;
BEGIN
    FOR n IN 1 .. cardinality(serving) LOOP
        names[n] := serving[n].region;
    END LOOP;
    IF in_line THEN
        FOR n IN 1 .. cardinality(serving) LOOP
            area := serving[n];
            UPDATE waiting_users w SET
                session_id = wait_in_line.session_id, regions = names,
                barred_until = wait_in_line.barred_until, last_at = at
            -- By the index of users: a user has few rows, a line may have thousands.
            WHERE w.user_id = wait_in_line.user_id AND w.region || '' = area.region
                AND w.client_sha || '' = area.client_sha
                AND w.last_at >= at - make_interval(secs => area.line_seconds)
            RETURNING w.first_at INTO since;
            first_at[n] := since;
        END LOOP;
        IF array_position(first_at, NULL) IS NOT NULL THEN
            -- Who comes back after they had left begins anew.
            DELETE FROM waiting_users w USING unnest(serving) a
            WHERE w.user_id = wait_in_line.user_id AND w.region || '' = a.region
                AND w.client_sha || '' = a.client_sha
                AND w.last_at < at - make_interval(secs => a.line_seconds);
        END IF;
    END IF;
    FOR n IN 1 .. cardinality(serving) LOOP
        IF first_at[n] IS NULL THEN
            area := serving[n];
            first_at[n] := at;
            INSERT INTO waiting_users
                (user_id, session_id, region, client_sha, regions, barred_until, first_at, last_at)
            VALUES (wait_in_line.user_id, wait_in_line.session_id, area.region, area.client_sha,
                names, wait_in_line.barred_until, at, at)
            ON CONFLICT ON CONSTRAINT waiting_users_pkey DO NOTHING;
        END IF;
    END LOOP;
    -- As `internal.wake` does, for less.
    IF NOT EXISTS (SELECT FROM region_wakeups w
        WHERE w.region = names[1] AND w.bucket = date_bin('2 seconds', at, 'epoch'))
    THEN
        PERFORM internal.wake(names[1], NULL);
    END IF;
    IF cardinality(names) > 1 THEN
        PERFORM internal.wake(internal.demand_region(names, at), NULL);
    END IF;
    FOR n IN 1 .. cardinality(serving) LOOP
        area := serving[n];
        asked_since := at - make_interval(secs => area.line_seconds);
        looked_at := 1100;
        LOOP
            SELECT b.*, e.seconds INTO line
            FROM internal.users_before(area.region, area.client_sha, first_at[n],
                wait_in_line.user_id, at, asked_since, looked_at) b
            CROSS JOIN LATERAL internal.forecast_for(
                area.region, area.client_sha, b.still_ask, at) e;
            EXIT WHEN line.seen < looked_at OR line.still_ask = furthest;
            looked_at := NULL;
        END LOOP;
        IF n = 1 OR (coalesce(line.seconds, never), line.still_ask + 1)
            < (coalesce(answer.estimate_seconds, never), answer.place)
        THEN
            answer.place := line.still_ask + 1;
            answer.estimate_seconds := line.seconds;
            answer.line_seconds := area.line_seconds;
        END IF;
        -- After all that this transaction might wait for: whoever waits for a row that is forgotten here waits
        -- for its end only.
        IF line.gone IS NOT NULL THEN
            PERFORM internal.forget_gone(area, line.gone, at);
        END IF;
    END LOOP;
    RETURN answer;
END
$$;

-- As before, with less to read.
CREATE OR REPLACE FUNCTION assign_slot(
    user_id text, session_id text, regions jsonb, client_sha text, user_limit integer,
    environment text, local_dev boolean,
    max_session_seconds integer DEFAULT NULL, max_idle_seconds integer DEFAULT NULL)
RETURNS SETOF assign_results
LANGUAGE plpgsql
-- Statistics of small tables may be old when the tables are large: the plans are the same at any size.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $$
DECLARE
    -- Null selects the current image, regardless of the commit it was built from.
    wanted_sha CONSTANT text := CASE WHEN coalesce(assign_slot.local_dev, false) THEN NULL
        ELSE coalesce(assign_slot.client_sha, '') END;
    at timestamptz;
    asked_region text;
    asked text[] := '{}';
    hash text;
    area internal.served_region;
    first internal.served_region;
    serving internal.served_region[] := '{}';
    holds_slots boolean;
    others bigint := 0;
    held_id uuid;
    held slots;
    claim interval;
    held_too_long boolean;
    in_line boolean;
    has_failed boolean;
    needs_no_wake boolean;
    barred_until timestamptz;
    search record;
    taken internal.taken_slot;
    waited_seconds double precision := 0;
    answer assign_results;
BEGIN
    IF coalesce(assign_slot.user_id, '') = '' OR coalesce(assign_slot.session_id, '') = '' THEN
        RAISE EXCEPTION 'assign_slot: user_id and session_id must not be empty'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    -- Serialises the requests of one user, so that counting the limit and recognising a
    -- repeated request are free of races. Two users whose ids have the same hash wait
    -- for each other, which is harmless.
    PERFORM pg_advisory_xact_lock(hashtextextended(assign_slot.user_id, 0));
    at := internal.clock();
    -- The regions that are enabled, in the order asked, and those of them that could serve the user.
    FOR n IN 0 .. jsonb_array_length(assign_slot.regions) - 1 LOOP
        asked_region := assign_slot.regions ->> n;
        CONTINUE WHEN asked_region = ANY (asked);
        hash := wanted_sha;
        IF hash IS NULL THEN
            SELECT h.client_sha INTO hash FROM internal.served_hashes h
            WHERE h.region = asked_region AND h.current_image_id IS NOT NULL;
        END IF;
        SELECT h.region, h.client_sha,
            CASE WHEN wanted_sha IS NULL THEN ARRAY[h.current_image_id] ELSE h.image_ids END,
            now() - make_interval(secs => h.heartbeat_seconds), h.line_seconds,
            EXISTS (SELECT FROM waiting_users w
                WHERE w.region = h.region AND w.client_sha = h.client_sha)
        INTO area
        FROM internal.served_hashes h WHERE h.region = asked_region AND h.client_sha = hash;
        IF FOUND THEN
            asked := asked || asked_region;
            serving := serving || area;
        ELSIF EXISTS (SELECT FROM public.regions r WHERE r.name = asked_region AND r.enabled) THEN
            asked := asked || asked_region;
        END IF;
    END LOOP;
    answer.nearest := asked[1];
    first := serving[1];
    -- What is known of the user, and whether the first region needs no wake-up now.
    SELECT EXISTS (SELECT FROM slots s WHERE s.user_id = assign_slot.user_id
            AND s.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING')),
        EXISTS (SELECT FROM waiting_users w WHERE w.user_id = assign_slot.user_id),
        EXISTS (SELECT FROM internal.failed_sessions f WHERE f.user_id = assign_slot.user_id),
        EXISTS (SELECT FROM internal.spare_slots p
            WHERE p.region = first.region AND p.image_id = first.image_ids[1] AND p.renew_at > at)
    INTO holds_slots, in_line, has_failed, needs_no_wake;

    <<deciding>>
    BEGIN
        IF holds_slots THEN
            SELECT count(*) FILTER (WHERE s.session_id <> assign_slot.session_id),
                (array_agg(s.id) FILTER (WHERE s.session_id = assign_slot.session_id))[1]
            INTO others, held_id
            FROM slots s WHERE s.user_id = assign_slot.user_id
                AND s.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING');
        END IF;
        IF held_id IS NOT NULL THEN
            -- A repeated request (the answer was lost, or the user tries again) gets the same
            -- slot and a new claim period, but never more than three periods in all. The slot is
            -- locked, so that neither a concurrent pass can release it nor its agent claim it in
            -- between.
            SELECT s.* INTO held FROM slots s
            WHERE s.id = held_id
                AND s.user_id = assign_slot.user_id AND s.session_id = assign_slot.session_id
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
                answer := internal.answer_with_slot(answer, held.id);
                EXIT deciding;
            END IF;
            -- Nobody connected to this slot yet, and its instance is silent or leaves, or the user had it
            -- for long enough: they get another one. A session holds one slot at a time, so this one is
            -- freed first.
            UPDATE slots s
            SET status = 'WAITING', user_id = NULL, session_id = NULL, allocated_at = NULL
            WHERE s.id = held.id;
            has_failed := true;
        END IF;

        IF others >= coalesce(assign_slot.user_limit, 3) THEN
            answer.outcome := 'USER_ALREADY_ACTIVE';
        ELSIF asked = '{}' THEN
            answer.outcome := 'REGION_NOT_ENABLED';
        ELSIF serving = '{}' THEN
            -- What the client should be.
            SELECT v.version, v.client_sha INTO answer.app_version, answer.app_client_sha
            FROM app_versions v WHERE v.environment = assign_slot.environment;
            -- A client is outdated only if there is an image for another one. A null
            -- `wanted_sha` would take any.
            answer.outcome := CASE WHEN wanted_sha IS NULL OR NOT EXISTS (SELECT FROM images m
                    WHERE m.region = ANY (asked) AND m.state IN ('CURRENT', 'BAKING'))
                THEN 'NO_IMAGE_SERVED' ELSE 'COMMIT_HASH_MISMATCH' END;
        ELSE
            IF NOT has_failed AND NOT first.has_line THEN
                -- What most users meet: the search would begin with the same look.
                taken := internal.take_free_slot(first, first.image_ids[1], assign_slot.user_id,
                    assign_slot.session_id, waited_seconds, '{}');
            END IF;
            -- Most who are refused meet this: no slot is free, so that there is nothing to search.
            IF taken.id IS NULL AND (has_failed OR EXISTS (
                SELECT FROM unnest(serving) a CROSS JOIN LATERAL unnest(a.image_ids) m
                -- LIMIT: so that it does not begin with the slots, which may be many of other regions.
                CROSS JOIN LATERAL (SELECT FROM slots s
                    WHERE s.region = a.region AND s.image_id = m
                        AND s.instance_active AND internal.is_free(s.status, s.free_from)
                    LIMIT 1) s))
            THEN
                search := internal.search_slot(
                    serving, assign_slot.user_id, assign_slot.session_id, has_failed, at);
                taken := search.taken;
                waited_seconds := search.waited_seconds;
                barred_until := search.barred_until;
                needs_no_wake := false;
            END IF;
        END IF;

        IF taken.id IS NOT NULL THEN
            IF in_line THEN
                -- The user is served, so they are in no line any more.
                DELETE FROM waiting_users w WHERE w.user_id = assign_slot.user_id;
            END IF;
            IF NOT needs_no_wake THEN
                PERFORM internal.wake(taken.region, taken.image_id);
            END IF;
            answer.outcome := 'ASSIGNED';
            answer.slot_id := taken.id;
            answer.ip_addr := taken.ip_addr;
            answer.region := taken.region;
            answer.instance_id := taken.instance_id;
            answer.waited_seconds := waited_seconds;
        ELSIF held.id IS NOT NULL AND held_too_long IS NOT TRUE
            AND internal.is_alive(held.instance_id)
        THEN
            -- There is no other. An instance that leaves still takes this user.
            UPDATE slots s SET status = 'ALLOCATED', user_id = assign_slot.user_id,
                session_id = assign_slot.session_id, first_allocated_at = held.first_allocated_at,
                allocated_at = greatest(held.allocated_at,
                    least(internal.clock(), held.first_allocated_at + 2 * claim)),
                waited_seconds = held.waited_seconds
            WHERE s.id = held.id;
            answer := internal.answer_with_slot(answer, held.id);
        ELSIF answer.outcome IS NULL THEN
            -- A refusal promises a place, not a slot, and may be lost in a crash of the database: the user
            -- asks again. So nobody waits for the disk here.
            PERFORM set_config('synchronous_commit', 'off', true);
            answer.outcome := 'NO_INSTANCE_AVAILABLE';
            answer := internal.wait_in_line(answer, serving, assign_slot.user_id,
                assign_slot.session_id, barred_until, in_line);
        END IF;
    END;

    IF answer.outcome = 'USER_ALREADY_ACTIVE' THEN
        answer.held := internal.held_sessions(assign_slot.user_id);
    ELSIF answer.slot_id IS NOT NULL
        AND (assign_slot.max_session_seconds > 0 OR assign_slot.max_idle_seconds > 0)
    THEN
        -- 0 is no limit, as null.
        PERFORM internal.limit_session(answer.slot_id,
            nullif(assign_slot.max_session_seconds, 0), nullif(assign_slot.max_idle_seconds, 0));
    END IF;
    RETURN NEXT answer;
END
$$;
