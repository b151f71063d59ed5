-- What one instance, or one user, can take from the others.
--
-- An instance whose sessions end at once is free again at once, and assigning fills the fullest
-- instance first: it would get every new user of its region, by accident (a broken GPU, a full disk, a
-- program that crashes at its start) or on purpose. Four rules keep it from that:
--
-- * A slot whose session was short is assigned after those of other instances.
-- * Quick ends of different users in a row: each replaced slot is free only after a cool-down.
-- * Replacements per instance and minute are limited.
-- * A user is not sent back to an instance that just failed them while another has a free slot.
--
-- A pass reads the counters here, and replaces an instance whose sessions end quickly while those of
-- others do not.

ALTER TABLE regions
    ADD COLUMN quick_end_seconds integer NOT NULL DEFAULT 10,
    ADD COLUMN replacements_per_minute integer,
    ADD CONSTRAINT regions_quick_end_seconds_at_most_600
        CHECK (quick_end_seconds BETWEEN 0 AND 600),
    ADD CONSTRAINT regions_replacements_per_minute_at_most_60000
        CHECK (replacements_per_minute BETWEEN 0 AND 60000);
COMMENT ON COLUMN regions.quick_end_seconds IS
    'a session that ends within this time after its user connected ended quickly; 0 switches the '
    'rules about quick ends off';
COMMENT ON COLUMN regions.replacements_per_minute IS
    'slots that an instance may replace within a minute before they cool down; 0 means no limit, null '
    'six for each slot';

ALTER TABLE slots
    -- A replaced slot is free from this time on. Null: at once, and its last session was not short.
    ADD COLUMN free_from timestamptz,
    -- When this session got the slot. Its repeated requests renew `allocated_at`, but not this.
    ADD COLUMN first_allocated_at timestamptz,
    -- When its user connected.
    ADD COLUMN claimed_at timestamptz;
UPDATE slots SET first_allocated_at = allocated_at WHERE status = 'ALLOCATED';
DROP INDEX slots_free;
CREATE INDEX slots_free ON slots (region, instance_id) INCLUDE (free_from)
    WHERE status = 'WAITING';

ALTER TABLE instances
    DROP CONSTRAINT instances_drain_cause_known,
    ADD CONSTRAINT instances_drain_cause_known CHECK (drain_cause IN ('SURPLUS', 'MAXIMUM', 'ROOM',
        'IMAGE', 'TOKEN', 'NOTICE', 'AGENT', 'SUSPECT',
        'OPERATOR', 'REVOKED'));

-- How an instance's sessions ended. A table of its own, so that a session's end does not rewrite the
-- instance, whose row agents only lock in share mode.
CREATE TABLE internal.session_ends (
    instance_id    text PRIMARY KEY REFERENCES instances (id) ON DELETE CASCADE,
    -- The users of the last sessions, as long as all of them ended quickly. Each user counts once: one
    -- who connects and disconnects again and again says nothing about the instance.
    quick_users    text[] NOT NULL DEFAULT '{}',
    -- The last end of a session that was not quick.
    lived_at       timestamptz,
    ended_at       timestamptz,
    -- As many replacements as are allowed are used up until then. It moves on with each of them.
    replaced_until timestamptz
) WITH (fillfactor = 50);

-- Sessions that failed their users, for an hour. Rows are only inserted and deleted, so a pass that
-- releases a slot never waits for an agent here. There is no foreign key, for the same reason.
CREATE TABLE internal.failed_sessions (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id     text NOT NULL,
    instance_id text NOT NULL,
    -- Whether the user connected. Otherwise the slot was released, because it was not claimed.
    claimed     boolean NOT NULL,
    failed_at   timestamptz NOT NULL,
    -- The user repeated the request until the slot was taken from them. They do not get one of the
    -- instance before this time, so that others do.
    barred_until timestamptz
);
CREATE INDEX failed_sessions_user ON internal.failed_sessions (user_id, failed_at);
CREATE INDEX failed_sessions_instance ON internal.failed_sessions (instance_id, failed_at)
    WHERE NOT claimed;
CREATE INDEX failed_sessions_failed_at ON internal.failed_sessions (failed_at);

-- As many users as have to fail in a row before an instance is suspected.
CREATE FUNCTION internal.several() RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT 3
$$;

-- Also deletes a few rows that are too old, so that the table is bounded without a pass.
CREATE FUNCTION internal.note_failed_session(user_id text, instance_id text, claimed boolean,
    at timestamptz, barred_until timestamptz)
RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM internal.failed_sessions f WHERE f.id IN (
        SELECT o.id FROM internal.failed_sessions o
        WHERE o.failed_at < note_failed_session.at - interval '1 hour'
        ORDER BY o.failed_at, o.id LIMIT 5 FOR UPDATE SKIP LOCKED);
    INSERT INTO internal.failed_sessions (user_id, instance_id, claimed, failed_at, barred_until)
    VALUES (note_failed_session.user_id, note_failed_session.instance_id,
        note_failed_session.claimed, note_failed_session.at, note_failed_session.barred_until);
END
$$;

-- A slot that nobody claimed in time failed its user. It is free, after those of other instances.
CREATE FUNCTION internal.slot_is_released() RETURNS trigger
LANGUAGE plpgsql AS $$
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

CREATE TRIGGER slots_are_released BEFORE UPDATE OF status ON slots
    FOR EACH ROW WHEN (OLD.status = 'ALLOCATED' AND NEW.status = 'WAITING')
    EXECUTE FUNCTION internal.slot_is_released();

-- Counts a session's end.
CREATE FUNCTION internal.session_ended(host instances, user_id text, claimed_at timestamptz)
RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    at CONSTANT timestamptz := internal.clock();
    quick_end interval;
    in_row integer;
BEGIN
    SELECT make_interval(secs => r.quick_end_seconds) INTO quick_end
    FROM regions r WHERE r.name = session_ended.host.region;
    IF session_ended.claimed_at + quick_end > at THEN
        PERFORM internal.note_failed_session(
            session_ended.user_id, session_ended.host.id, true, at, NULL);
        -- More users than these change nothing.
        INSERT INTO internal.session_ends AS e (instance_id, quick_users, ended_at)
        VALUES (session_ended.host.id, ARRAY[session_ended.user_id], at)
        ON CONFLICT ON CONSTRAINT session_ends_pkey DO UPDATE SET
            ended_at = excluded.ended_at,
            quick_users = CASE
                WHEN session_ended.user_id = ANY (e.quick_users) OR cardinality(e.quick_users) >= 10
                    THEN e.quick_users
                ELSE e.quick_users || session_ended.user_id END
        RETURNING cardinality(e.quick_users) INTO in_row;
        IF in_row = internal.several() THEN
            PERFORM internal.wake(session_ended.host.region, NULL);
        END IF;
    ELSE
        INSERT INTO internal.session_ends AS e (instance_id, lived_at, ended_at)
        VALUES (session_ended.host.id, at, at)
        ON CONFLICT ON CONSTRAINT session_ends_pkey DO UPDATE SET
            ended_at = excluded.ended_at, lived_at = excluded.lived_at, quick_users = '{}';
    END IF;
END
$$;

-- Whether sessions also end quickly on most other instances of the region, as far as they had any
-- within the hour. Then it is the image or the product, and no instance is held back for it.
CREATE FUNCTION internal.others_end_quickly(host instances) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT coalesce(count(*) FILTER (WHERE NOT o.lives AND o.in_row >= internal.several())
        > count(*) FILTER (WHERE o.lives), false)
    FROM (
        SELECT cardinality(e.quick_users) AS in_row,
            coalesce(e.lived_at > now() - interval '1 hour', false) OR EXISTS (
                SELECT FROM slots s WHERE s.instance_id = e.instance_id AND s.status = 'RUNNING'
                    AND s.claimed_at <= now() - make_interval(secs => r.quick_end_seconds)) AS lives
        FROM internal.session_ends e
        JOIN instances i ON i.id = e.instance_id
        JOIN regions r ON r.name = i.region
        WHERE i.region = others_end_quickly.host.region AND i.id <> others_end_quickly.host.id
            AND e.ended_at > now() - interval '1 hour'
    ) o
$$;

-- From when on a slot is free that replaces one claimed at this time. Null: at once, and the session
-- was not short.
CREATE FUNCTION internal.cool_down(host instances, claimed_at timestamptz) RETURNS timestamptz
LANGUAGE plpgsql AS $$
DECLARE
    at CONSTANT timestamptz := internal.clock();
    quick_end interval;
    per_minute integer;
    ends internal.session_ends;
    in_row integer;
    free_from timestamptz := at;
BEGIN
    SELECT make_interval(secs => r.quick_end_seconds),
        coalesce(r.replacements_per_minute, 6 * cool_down.host.capacity)
    INTO quick_end, per_minute
    FROM regions r WHERE r.name = cool_down.host.region;
    INSERT INTO internal.session_ends AS e (instance_id, replaced_until)
    VALUES (cool_down.host.id, at + interval '1 minute' / nullif(per_minute, 0))
    ON CONFLICT ON CONSTRAINT session_ends_pkey DO UPDATE SET replaced_until =
        greatest(e.replaced_until, at) + interval '1 minute' / nullif(per_minute, 0)
    RETURNING e.* INTO ends;
    -- Those of one minute are free at once, the others at the rate.
    free_from := greatest(free_from, ends.replaced_until - interval '1 minute');
    -- The first quick end costs nothing: a user has changed their mind. 5 s after the second user's,
    -- then twice as long each time.
    in_row := cardinality(ends.quick_users);
    IF in_row >= 2 AND NOT internal.others_end_quickly(cool_down.host) THEN
        free_from := greatest(free_from,
            at + least(interval '5 seconds' * 2 ^ (in_row - 2), interval '10 minutes'));
    END IF;
    IF free_from > at OR cool_down.claimed_at + 6 * quick_end > at THEN
        RETURN free_from;
    END IF;
    RETURN NULL;
END
$$;

-- As before, but for the times of a session. The answers name their columns, because others are added.
CREATE OR REPLACE FUNCTION claim_slot(
    slot_id uuid, user_id text, session_id text, hasura_session json)
RETURNS SETOF agent_answers
LANGUAGE plpgsql AS $$
DECLARE
    host instances;
    answer agent_answers;
BEGIN
    SELECT * INTO host FROM internal.own_slot_host(claim_slot.slot_id, claim_slot.hasura_session);
    answer.instance_id := host.id;
    answer.status := host.status;
    answer.outcome := 'REFUSED';
    IF host.id IS NOT NULL AND host.status <> 'TERMINATING' THEN
        UPDATE slots s SET status = 'CONNECTING', claimed_at = internal.clock()
        WHERE s.id = claim_slot.slot_id AND s.status = 'ALLOCATED'
            AND s.user_id = claim_slot.user_id AND s.session_id = claim_slot.session_id;
        -- A repeated claim by the same user and session succeeds: the first answer was lost.
        IF FOUND OR EXISTS (SELECT FROM slots s
            WHERE s.id = claim_slot.slot_id AND s.status IN ('CONNECTING', 'RUNNING')
                AND s.user_id = claim_slot.user_id AND s.session_id = claim_slot.session_id)
        THEN
            answer.outcome := 'CLAIMED';
        END IF;
    END IF;
    RETURN NEXT answer;
END
$$;

CREATE OR REPLACE FUNCTION report_slot(slot_id uuid, status text, hasura_session json)
RETURNS SETOF agent_answers
LANGUAGE plpgsql AS $$
DECLARE
    host instances;
    slot slots;
    answer agent_answers;
BEGIN
    SELECT * INTO host FROM internal.own_slot_host(report_slot.slot_id, report_slot.hasura_session);
    answer.instance_id := host.id;
    answer.status := host.status;
    IF host.id IS NULL THEN
        answer.outcome := 'UNKNOWN';
        RETURN NEXT answer;
        RETURN;
    END IF;
    UPDATE slots s SET status = report_slot.status
    WHERE s.id = report_slot.slot_id AND CASE report_slot.status
        WHEN 'RUNNING' THEN s.status = 'CONNECTING'
        WHEN 'DYING' THEN s.status IN ('CONNECTING', 'RUNNING')
        ELSE false END
    RETURNING s.* INTO slot;
    IF slot.status = 'DYING' THEN
        PERFORM internal.session_ended(host, slot.user_id, slot.claimed_at);
    END IF;
    IF slot.id IS NOT NULL OR (report_slot.status IN ('RUNNING', 'DYING') AND EXISTS (
        SELECT FROM slots s WHERE s.id = report_slot.slot_id AND s.status = report_slot.status))
    THEN
        answer.outcome := 'REPORTED';
    ELSE
        answer.outcome := 'REFUSED';
    END IF;
    RETURN NEXT answer;
END
$$;

CREATE OR REPLACE FUNCTION replace_slot(slot_id uuid, hasura_session json)
RETURNS SETOF agent_answers
LANGUAGE plpgsql AS $$
DECLARE
    host instances;
    slot slots;
    answer agent_answers;
BEGIN
    SELECT * INTO host
    FROM internal.own_slot_host(replace_slot.slot_id, replace_slot.hasura_session);
    answer.instance_id := host.id;
    answer.status := host.status;
    IF host.id IS NULL THEN
        answer.outcome := 'UNKNOWN';
        RETURN NEXT answer;
        RETURN;
    END IF;
    DELETE FROM slots s WHERE s.id = replace_slot.slot_id AND s.status = 'DYING'
    RETURNING s.* INTO slot;
    IF slot.id IS NULL THEN
        answer.outcome := 'REFUSED';
    ELSIF host.status <> 'ACTIVE' THEN
        answer.outcome := 'REMOVED';
    ELSE
        INSERT INTO slots (instance_id, free_from)
        VALUES (host.id, internal.cool_down(host, slot.claimed_at));
        answer.outcome := 'REPLACED';
    END IF;
    RETURN NEXT answer;
END
$$;
COMMENT ON FUNCTION replace_slot IS
    'Deletes a DYING slot and, on an ACTIVE instance, creates a new one, which may be free only after '
    'a cool-down. REPLACED, REMOVED (not ACTIVE, so none is created), REFUSED (not DYING), or UNKNOWN '
    '(replaced before).';

-- A slot that is WAITING and past its cool-down.
CREATE FUNCTION internal.is_free(status text, free_from timestamptz) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT is_free.status = 'WAITING'
        AND (is_free.free_from IS NULL OR is_free.free_from <= now())
$$;

-- Instances with free slots, by id. It reads the index of free slots in order, so a
-- caller that stops early pays only for the rows that it read, however large the
-- region is. Callers disable the plans that read the whole index first, because the
-- planner does not know how early they stop.
DROP FUNCTION internal.with_room(text, text);
CREATE FUNCTION internal.with_room(region text, after_id text)
RETURNS TABLE (instance_id text, free bigint, place bigint)
LANGUAGE sql STABLE AS $$
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

-- Allocates one free slot of an ACTIVE instance, or returns null. It never waits for
-- a lock. It locks the instance first, in share mode, and then the slot: either a
-- concurrent drain waits for this assign, or this assign sees the instance DRAINING.
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

-- Like `take_slot`, but for one given slot, and it waits for locks on the slot and on
-- its instance.
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
        allocated_at = internal.clock(), first_allocated_at = internal.clock()
    WHERE s.id = await_slot.slot_id AND internal.is_free(s.status, s.free_from);
    RETURN CASE WHEN FOUND THEN await_slot.slot_id END;
END
$$;

-- The first search, which skips locked rows instead of waiting. It goes through the
-- instances page by page, and within a page from the fullest instance to the emptiest,
-- then by id. Instances with short sessions come last, and those to `avoid` not at all.
--
-- Filling the fullest instance first is exact within a page of 200 instances with free
-- slots. Across pages, lower ids fill first, so that instances with higher ids become
-- empty and can be drained.
DROP FUNCTION internal.take_any_slot(text, text[], text, text);
CREATE FUNCTION internal.take_any_slot(
    region text, image_ids text[], user_id text, session_id text, avoid text[])
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

-- The second search, which waits for locks, before the user is refused. A slot that the
-- first search skipped may be free: the transaction that locked it may roll back, or a
-- pass may have locked only its instance. Without this search, 60 users on 40 slots
-- leave some of the slots empty.
--
-- Each failed attempt is rolled back before the next, so that a waiting assign holds a
-- lock on at most one instance. Assigns can therefore not deadlock. The lock timeout
-- bounds each wait, and `give_up_at` bounds all of them.
DROP FUNCTION internal.await_any_slot(text, text[], text, text, timestamptz);
CREATE FUNCTION internal.await_any_slot(region text, image_ids text[], user_id text,
    session_id text, avoid text[], give_up_at timestamptz)
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

-- Searches the regions for a free slot, first without waiting for locks: on instances that did not
-- fail the user lately, then on all.
--
-- If the first search finds nothing, it is rolled back together with its locks, so
-- that the search that waits does not hold locks that other assigns wait for.
CREATE OR REPLACE FUNCTION internal.search_slot(
    regions text[], client_sha text, user_id text, session_id text)
RETURNS uuid
LANGUAGE plpgsql AS $$
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

-- One row per user and region, however many sessions they ask for.
DELETE FROM waiting_users w USING waiting_users later
WHERE later.user_id = w.user_id AND later.region = w.region
    AND (later.last_at, later.session_id) > (w.last_at, w.session_id);
ALTER TABLE waiting_users
    DROP CONSTRAINT waiting_users_pkey,
    ADD CONSTRAINT waiting_users_pkey PRIMARY KEY (user_id, region);
COMMENT ON COLUMN waiting_users.session_id IS 'the session of the last refused request';

-- Deletes up to `most` users of a region who have not asked for an hour.
CREATE FUNCTION internal.forget_waiting(region text, at timestamptz, most integer) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM waiting_users u WHERE (u.user_id, u.region) IN (
        SELECT o.user_id, o.region FROM waiting_users o
        WHERE o.region = forget_waiting.region AND o.last_at < forget_waiting.at - interval '1 hour'
        ORDER BY o.last_at, o.user_id LIMIT forget_waiting.most FOR UPDATE SKIP LOCKED);
END
$$;

-- Records that a user was refused, and that a pass should see it. Each refusal deletes more rows than
-- it makes, if they are too old: the table is bounded even if no pass runs.
CREATE FUNCTION internal.wait_for_slot(user_id text, session_id text, region text) RETURNS void
LANGUAGE plpgsql AS $$
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
LANGUAGE sql AS $$
    DELETE FROM region_wakeups w WHERE (w.region, w.bucket) IN (
        SELECT o.region, o.bucket FROM region_wakeups o
        WHERE o.region = prune.region AND o.bucket < now() - interval '1 hour'
        ORDER BY o.bucket LIMIT 2000 FOR UPDATE SKIP LOCKED);
    SELECT internal.forget_waiting(prune.region, now(), 2000);
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

-- `slots_waiting` are free slots: those that cool down are not counted.
ALTER TABLE instance_views
    -- Different users in a row whose sessions ended quickly.
    ADD COLUMN quick_ends integer NOT NULL,
    -- Different users in a row who never connected, within the hour.
    ADD COLUMN unclaimed_ends integer NOT NULL,
    -- Whether a session of it outlasted quick_end_seconds: one that runs, or one within the hour.
    ADD COLUMN sessions_live boolean NOT NULL;

CREATE OR REPLACE FUNCTION observe_instances(region text, after_id text, page_size integer)
RETURNS SETOF instance_views
LANGUAGE sql VOLATILE AS $$
    SELECT i.id, i.launch_id, i.image_id, i.client_sha, i.instance_type, i.capacity, i.ip_addr,
        i.status, i.launched_at, i.active_at, i.draining_since, i.missing_since, h.beat_at,
        h.resumed_at, i.notice,
        s.waiting, s.occupied, s.unclaimed,
        i.subnet_id, i.spot, i.drain_cause, i.leave_reason,
        t.key_id, t.valid_until, CASE WHEN t.taken_at IS NULL THEN t.renewed_at END,
        host(i.private_ip), host(i.public_ip),
        CASE WHEN r.quick_end_seconds > 0 THEN coalesce(cardinality(e.quick_users), 0) ELSE 0 END,
        CASE WHEN r.quick_end_seconds > 0 THEN f.unclaimed ELSE 0 END,
        s.lives OR coalesce(e.lived_at > now() - interval '1 hour', false)
    FROM regions r
    JOIN instances i ON i.region = r.name
    LEFT JOIN heartbeats h ON h.instance_id = i.id
    LEFT JOIN internal.agent_tokens t ON t.instance_id = i.id
    LEFT JOIN internal.session_ends e ON e.instance_id = i.id
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE internal.is_free(s.status, s.free_from))::integer AS waiting,
            count(*) FILTER (WHERE s.status <> 'WAITING')::integer AS occupied,
            count(*) FILTER (WHERE s.status = 'ALLOCATED'
                AND s.allocated_at < now() - make_interval(secs => r.claim_seconds))::integer
                AS unclaimed,
            coalesce(bool_or(s.status = 'RUNNING'
                AND s.claimed_at <= now() - make_interval(secs => r.quick_end_seconds)), false)
                AS lives,
            max(s.claimed_at) AS claimed_at
        FROM slots s WHERE s.instance_id = i.id
    ) s
    CROSS JOIN LATERAL (
        SELECT count(DISTINCT f.user_id)::integer AS unclaimed FROM internal.failed_sessions f
        WHERE f.instance_id = i.id AND NOT f.claimed
            AND f.failed_at > greatest(e.ended_at, s.claimed_at, now() - interval '1 hour')
    ) f
    WHERE r.name = observe_instances.region AND i.id > coalesce(observe_instances.after_id, '')
    ORDER BY i.id
    LIMIT greatest(observe_instances.page_size, 1)
$$;

CREATE OR REPLACE FUNCTION observe_region(region text, environment text)
RETURNS SETOF region_views
LANGUAGE sql VOLATILE AS $$
    WITH clock AS MATERIALIZED (SELECT internal.clock() AS now)
    SELECT r.name,
        c.now,
        (SELECT count(*)::integer FROM waiting_users u
         WHERE u.region = r.name AND u.last_at >= c.now - interval '1 minute'),
        internal.watched_since(r.name, c.now),
        (SELECT v.client_sha FROM app_versions v WHERE v.environment = observe_region.environment),
        to_jsonb(r)
    FROM regions r CROSS JOIN clock c WHERE r.name = observe_region.region
$$;

CREATE OR REPLACE FUNCTION status_regions(environment text) RETURNS SETOF region_statuses
LANGUAGE sql VOLATILE AS $$
    SELECT r.name, r.enabled, r.paused, r.algorithm, r.created_at, now(),
        -- As a pass counts them.
        (SELECT count(*)::integer FROM waiting_users u
         WHERE u.region = r.name AND u.last_at >= now() - interval '1 minute'),
        f.version, f.last_pass_at,
        (SELECT v.client_sha FROM app_versions v WHERE v.environment = status_regions.environment),
        to_jsonb(r)
    FROM regions r LEFT JOIN region_fences f ON f.region = r.name
    ORDER BY r.name
$$;

CREATE OR REPLACE FUNCTION status_images() RETURNS SETOF image_statuses
LANGUAGE sql VOLATILE
SET jit = off
AS $$
    WITH counted AS (
        SELECT s.instance_id,
            count(*) FILTER (WHERE internal.is_free(s.status, s.free_from)) AS waiting,
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

-- A suspect is drained with its users.
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
                -- Users on an instance that EC2 is about to take lose it anyway, and those on a
                -- suspect stay. Draining it keeps other users from being assigned to it.
                WHEN i.notice IS NULL AND drain_instances.cause IS DISTINCT FROM 'SUSPECT'
                    AND internal.is_occupied(i.id) THEN 'OCCUPIED'
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
    'Drains instances that are empty, that EC2 is about to take, or whose sessions end quickly: no '
    'users are assigned to them any more. DONE, ALREADY, OCCUPIED, WRONG_STATE, UNKNOWN, or FENCED.';
