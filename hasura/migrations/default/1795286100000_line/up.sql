-- Assigning as fast as the database allows, and in the order in which users were refused.
--
-- A slot is found by the index of free slots, and only the slot is locked. So two assigns never wait for
-- each other on an instance: neither on different ones nor on the same. What made an instance's row
-- necessary before, a drain in the same moment, is decided by the slots: each has a copy of whether its
-- instance is ACTIVE, so a drain changes all slots of its instance, and waits for the assigns under way.
--
-- Users who were refused for lack of capacity and still ask are a line, for each region and client hash.
-- A free slot goes to the first of them.

ALTER TABLE regions
    ADD COLUMN line_seconds integer NOT NULL DEFAULT 15,
    ADD CONSTRAINT regions_line_seconds_5_to_300 CHECK (line_seconds BETWEEN 5 AND 300);
COMMENT ON COLUMN regions.line_seconds IS
    'a user in line who has not asked for this time has left the line';

-- Copies, as the region is, so that the free slots of an image are found by an index.
ALTER TABLE slots
    ADD COLUMN image_id text,
    ADD COLUMN instance_active boolean,
    -- How long the user of this session was in line before they got the slot.
    ADD COLUMN waited_seconds double precision NOT NULL DEFAULT 0,
    ADD CONSTRAINT slots_waited_seconds_not_negative CHECK (waited_seconds >= 0);
UPDATE slots s SET image_id = i.image_id, instance_active = i.status = 'ACTIVE'
FROM instances i WHERE i.id = s.instance_id;
ALTER TABLE slots
    ALTER COLUMN image_id SET NOT NULL,
    ALTER COLUMN instance_active SET NOT NULL;
DROP INDEX slots_free;
CREATE INDEX slots_free ON slots (region, image_id, instance_id) INCLUDE (free_from)
    WHERE status = 'WAITING' AND instance_active;

DROP TRIGGER slots_take_region ON slots;
DROP FUNCTION internal.slot_takes_region();
CREATE FUNCTION internal.slot_copies_instance() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    -- Locked, so that a new slot does not miss a drain.
    SELECT i.region, i.image_id, i.status = 'ACTIVE'
    INTO NEW.region, NEW.image_id, NEW.instance_active
    FROM instances i WHERE i.id = NEW.instance_id FOR SHARE;
    -- For an unknown instance, the foreign key's error is clearer than one about a null.
    NEW.region := coalesce(NEW.region, '');
    NEW.image_id := coalesce(NEW.image_id, '');
    NEW.instance_active := coalesce(NEW.instance_active, false);
    RETURN NEW;
END
$$;
CREATE TRIGGER slots_copy_instance
    BEFORE INSERT OR UPDATE OF instance_id, region, image_id, instance_active ON slots
    FOR EACH ROW EXECUTE FUNCTION internal.slot_copies_instance();

-- The slots follow their instance. Who ends its being ACTIVE waits here for the assigns under way, and
-- those that come later find no slot: an assign locks only its slot.
CREATE FUNCTION internal.slots_follow_instance() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM slots s WHERE s.instance_id = NEW.id ORDER BY s.id FOR UPDATE;
    UPDATE slots s SET image_id = NEW.image_id, instance_active = NEW.status = 'ACTIVE'
    WHERE s.instance_id = NEW.id;
    RETURN NULL;
END
$$;
CREATE TRIGGER instances_followed_by_slots AFTER UPDATE OF image_id, status ON instances
    FOR EACH ROW WHEN (NEW.image_id <> OLD.image_id
        OR (NEW.status = 'ACTIVE') <> (OLD.status = 'ACTIVE'))
    EXECUTE FUNCTION internal.slots_follow_instance();

-- The line: a row for each user who was refused, in each region that could serve them. Nobody keeps a
-- place from before: without a client hash it is not known which line they were in.
DELETE FROM waiting_users;
DROP INDEX waiting_users_region;
ALTER TABLE waiting_users
    ADD COLUMN client_sha text NOT NULL,
    -- Where the user asks, the nearest region first.
    ADD COLUMN regions text[] NOT NULL,
    -- Some instance may not serve this user until then. As long as that is so, nobody waits behind
    -- them: the free slot may be one that they cannot have.
    ADD COLUMN barred_until timestamptz,
    DROP CONSTRAINT waiting_users_pkey,
    ADD CONSTRAINT waiting_users_pkey PRIMARY KEY (user_id, region, client_sha);
ALTER TABLE waiting_users SET (fillfactor = 50);
CREATE INDEX waiting_users_line ON waiting_users (region, client_sha, first_at);

-- What the last pass expects: from at[n] on, slots[n] more slots in all have become free for the users of
-- this line since `made_at`.
CREATE TABLE internal.line_forecasts (
    region     text NOT NULL,
    client_sha text NOT NULL,
    made_at    timestamptz NOT NULL,
    at         timestamptz[] NOT NULL,
    slots      integer[] NOT NULL,
    PRIMARY KEY (region, client_sha),
    CONSTRAINT line_forecasts_steps_are_pairs CHECK (cardinality(at) = cardinality(slots)),
    CONSTRAINT line_forecasts_at_most_200_steps CHECK (cardinality(at) <= 200)
);

-- Until then, a region can launch nothing.
CREATE TABLE internal.region_capacity (
    region     text PRIMARY KEY,
    none_until timestamptz NOT NULL
);

ALTER TABLE assign_results
    ADD COLUMN place integer,
    ADD COLUMN estimate_seconds integer,
    ADD COLUMN line_seconds integer,
    ADD COLUMN waited_seconds double precision;

-- A region that could serve a user.
CREATE TYPE internal.served_region AS (
    region       text,
    -- Which line the user is in.
    client_sha   text,
    -- The images that serve the user, in the order in which they are searched.
    image_ids    text[],
    -- A heartbeat is fresh from then on.
    beat_since   timestamptz,
    line_seconds integer,
    -- Somebody is or was in its line.
    has_line     boolean
);

-- What each client hash is served with in the enabled regions: what every assign would have to put
-- together from the regions and their images.
CREATE TABLE internal.served_hashes (
    region            text NOT NULL REFERENCES regions (name) ON DELETE CASCADE,
    client_sha        text NOT NULL,
    -- The current image first: the old one of an upgrade empties while that has room.
    image_ids         text[] NOT NULL,
    -- Null if the current image has another hash.
    current_image_id  text,
    heartbeat_seconds integer NOT NULL,
    line_seconds      integer NOT NULL,
    PRIMARY KEY (region, client_sha)
);
CREATE UNIQUE INDEX served_hashes_current ON internal.served_hashes (region)
    WHERE current_image_id IS NOT NULL;

-- Follows changes of regions and images. Changes of one region come one after the other: each sees those
-- before it.
CREATE FUNCTION internal.serve_hashes(region text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('served ' || serve_hashes.region, 0));
    DELETE FROM internal.served_hashes h WHERE h.region = serve_hashes.region;
    INSERT INTO internal.served_hashes
        (region, client_sha, image_ids, current_image_id, heartbeat_seconds, line_seconds)
    SELECT r.name, i.client_sha,
        array_agg(i.image_id ORDER BY i.state = 'CURRENT' DESC, i.state_since DESC, i.image_id),
        min(i.image_id) FILTER (WHERE i.state = 'CURRENT'), r.heartbeat_seconds, r.line_seconds
    FROM regions r
    JOIN images i ON i.region = r.name AND i.state IN ('CURRENT', 'BAKING')
    WHERE r.name = serve_hashes.region AND r.enabled
    GROUP BY r.name, i.client_sha;
END
$$;
CREATE FUNCTION internal.region_serves() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM internal.serve_hashes(OLD.name) WHERE TG_OP <> 'INSERT';
    PERFORM internal.serve_hashes(NEW.name) WHERE TG_OP <> 'DELETE';
    RETURN NULL;
END
$$;
CREATE TRIGGER regions_serve AFTER INSERT OR DELETE OR UPDATE OF name, enabled, heartbeat_seconds,
        line_seconds ON regions
    FOR EACH ROW EXECUTE FUNCTION internal.region_serves();
CREATE FUNCTION internal.image_serves() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM internal.serve_hashes(OLD.region) WHERE TG_OP <> 'INSERT';
    PERFORM internal.serve_hashes(NEW.region) WHERE TG_OP <> 'DELETE';
    RETURN NULL;
END
$$;
CREATE TRIGGER images_serve AFTER INSERT OR DELETE OR UPDATE OF region, image_id, client_sha, state,
        state_since ON images
    FOR EACH ROW EXECUTE FUNCTION internal.image_serves();
DO $$
BEGIN
    PERFORM internal.serve_hashes(r.name) FROM regions r;
END
$$;

-- Where a user stands.
CREATE TYPE internal.place_in_line AS (
    -- When the user was refused first; null for one who is not in line.
    first_at timestamptz,
    -- Users before this one who still ask.
    ahead    bigint,
    -- Free slots for this user, counted up to one more than `ahead`.
    free     bigint,
    -- Some of the users before this one who have left.
    gone     text[]
);

-- The free slots of images, as a view that the planner expands: on open instances, and past their
-- cool-down.
CREATE FUNCTION internal.free_slots(region text, image_ids text[], beat_since timestamptz)
RETURNS TABLE (id uuid, instance_id text)
LANGUAGE sql STABLE AS $$
    SELECT s.id, s.instance_id
    FROM slots s
    CROSS JOIN LATERAL internal.open_instance(
        s.instance_id, free_slots.image_ids, free_slots.beat_since) o
    WHERE s.region = free_slots.region AND s.image_id = ANY (free_slots.image_ids)
        AND s.instance_active AND internal.is_free(s.status, s.free_from)
$$;

-- All in one statement: the users ahead and the free slots must be counted in the same moment. Otherwise
-- somebody who is served in between is missing among the users, and their slot still counts.
CREATE FUNCTION internal.place_of(area internal.served_region, user_id text, at timestamptz)
RETURNS internal.place_in_line
LANGUAGE plpgsql STABLE AS $$
DECLARE
    -- A place further back than this is not counted, and gets no slot yet: ...
    furthest CONSTANT integer := 1000;
    -- ... this many are looked at first, with those who have left.
    looked_at integer := 1100;
    asked_since CONSTANT timestamptz :=
        place_of.at - make_interval(secs => area.line_seconds);
    found internal.place_in_line;
    seen bigint;
BEGIN
    LOOP
        SELECT own.first_at, l.ahead, f.free, l.gone, l.seen
        INTO found.first_at, found.ahead, found.free, found.gone, seen
        FROM (SELECT (
            -- OFFSET: a user has few rows, a line may have thousands.
            SELECT w.first_at
            FROM (SELECT u.* FROM waiting_users u WHERE u.user_id = place_of.user_id OFFSET 0) w
            WHERE w.region = area.region AND w.client_sha = area.client_sha
                AND w.last_at >= asked_since
        ) AS first_at) own
        CROSS JOIN LATERAL (
            SELECT count(*) AS seen,
                least(furthest, count(*) FILTER (WHERE b.last_at >= asked_since
                    AND (b.barred_until IS NULL OR b.barred_until <= place_of.at))) AS ahead,
                (array_agg(b.user_id) FILTER (WHERE b.last_at < asked_since))[1:10] AS gone
            FROM (
                SELECT w.user_id, w.last_at, w.barred_until FROM waiting_users w
                WHERE w.region = area.region
                    AND w.client_sha = area.client_sha
                    AND w.first_at <= coalesce(own.first_at, 'infinity')
                    AND (w.first_at, w.user_id)
                        < (coalesce(own.first_at, 'infinity'), place_of.user_id)
                ORDER BY w.first_at LIMIT looked_at
            ) b
        ) l
        CROSS JOIN LATERAL (
            SELECT count(*) AS free FROM (
                SELECT FROM internal.free_slots(area.region, area.image_ids,
                    area.beat_since)
                LIMIT CASE WHEN l.ahead < furthest THEN l.ahead + 1 ELSE 0 END
            ) s
        ) f;
        -- So many have left that not all who are ahead were looked at.
        EXIT WHEN seen < looked_at OR found.ahead = furthest;
        looked_at := NULL;
    END LOOP;
    RETURN found;
END
$$;

-- What a user got.
CREATE TYPE internal.taken_slot AS (
    id          uuid,
    region      text,
    image_id    text,
    instance_id text,
    ip_addr     text
);

-- Takes a free slot of an image, of the fullest instance. "Fullest" is exact among the instances of a
-- window: 16 free slots, in the order of instance ids, and an instance whose slots the window may have cut
-- off comes last. Instances with short sessions come after the others. If others hold all of them at this
-- moment, all would meet at the next one again: each assign goes its own way through a larger window then.
CREATE FUNCTION internal.take_free_slot(
    area internal.served_region, image_id text, user_id text, session_id text,
    waited_seconds double precision, avoid text[])
RETURNS internal.taken_slot
LANGUAGE plpgsql AS $$
DECLARE
    window_size integer := 16;
    from_id text := '';
    last_id text;
    seen bigint;
    are_held boolean;
    is_shuffled boolean := false;
    taken internal.taken_slot;
BEGIN
    LOOP
        UPDATE slots s
        SET status = 'ALLOCATED', user_id = take_free_slot.user_id,
            session_id = take_free_slot.session_id, allocated_at = internal.clock(),
            first_allocated_at = internal.clock(), waited_seconds = take_free_slot.waited_seconds
        FROM (
            SELECT f.id, o.ip_addr
            FROM (
                SELECT c.instance_id, i.ip_addr
                FROM (
                    SELECT w.instance_id FROM (
                        SELECT f.instance_id, f.free_from,
                            row_number() OVER (ORDER BY f.instance_id) AS n
                        FROM slots f
                        WHERE f.region = area.region AND f.image_id = take_free_slot.image_id
                            AND f.status = 'WAITING' AND f.instance_active
                            AND f.instance_id >= from_id
                        ORDER BY f.instance_id LIMIT window_size
                    ) w
                    GROUP BY w.instance_id
                    ORDER BY (max(w.free_from) FILTER (WHERE w.free_from <= now())
                            > now() - interval '10 minutes') IS TRUE,
                        CASE WHEN is_shuffled THEN random() END,
                        max(w.n) = window_size,
                        count(*) FILTER (WHERE w.free_from IS NULL OR w.free_from <= now()),
                        w.instance_id
                ) c
                JOIN instances i ON i.id = c.instance_id
                    AND i.notice IS DISTINCT FROM 'INTERRUPTION'
                JOIN heartbeats h ON h.instance_id = c.instance_id AND h.beat_at >= area.beat_since
                WHERE c.instance_id <> ALL (avoid)
                -- Only slots of these are locked, in this order, until there is one.
                OFFSET 0
            ) o
            CROSS JOIN LATERAL (
                SELECT f.id FROM slots f
                WHERE f.instance_id = o.instance_id AND f.instance_active
                    AND internal.is_free(f.status, f.free_from)
                ORDER BY f.id LIMIT 1 FOR UPDATE SKIP LOCKED
            ) f
            LIMIT 1
        ) f
        WHERE s.id = f.id
        RETURNING s.id, s.region, s.image_id, s.instance_id, f.ip_addr INTO taken;
        IF taken.id IS NOT NULL THEN
            RETURN taken;
        END IF;
        -- What the window had: others hold it, or its instances take no users.
        SELECT max(w.instance_id), count(*), EXISTS (
            SELECT FROM internal.free_slots(area.region, area.image_ids, area.beat_since) f
            WHERE f.instance_id BETWEEN from_id AND max(w.instance_id)
                AND f.instance_id <> ALL (avoid))
        INTO last_id, seen, are_held
        FROM (
            SELECT f.instance_id FROM slots f
            WHERE f.region = area.region AND f.image_id = take_free_slot.image_id
                AND f.status = 'WAITING' AND f.instance_active AND f.instance_id >= from_id
            ORDER BY f.instance_id LIMIT window_size
        ) w;
        IF is_shuffled OR NOT are_held THEN
            IF seen < window_size THEN
                RETURN NULL;
            END IF;
            from_id := last_id;
        END IF;
        is_shuffled := are_held;
        window_size := 4 * window_size;
    END LOOP;
END
$$;

-- A look that waits, before a user is refused: others have locked the free slots, and may not take them.
-- It waits half a second at most for one slot of each instance, and no longer than `give_up_at`.
CREATE FUNCTION internal.await_free_slot(
    area internal.served_region, user_id text, session_id text, waited_seconds double precision,
    avoid text[], give_up_at timestamptz)
RETURNS internal.taken_slot
LANGUAGE plpgsql
SET lock_timeout = '500ms'
AS $$
DECLARE
    slot uuid;
    image text;
    taken internal.taken_slot;
BEGIN
    FOR slot IN
        SELECT DISTINCT ON (s.instance_id) s.id
        FROM internal.free_slots(area.region, area.image_ids, area.beat_since) s
        WHERE s.instance_id <> ALL (avoid)
        ORDER BY s.instance_id, s.id LIMIT 100
    LOOP
        BEGIN
            -- Once it is locked, the search finds it too, if it is still free.
            PERFORM FROM slots s WHERE s.id = slot FOR UPDATE;
            FOREACH image IN ARRAY area.image_ids LOOP
                taken := internal.take_free_slot(
                    area, image, user_id, session_id, waited_seconds, avoid);
                IF taken.id IS NOT NULL THEN
                    RETURN taken;
                END IF;
            END LOOP;
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
        EXIT WHEN clock_timestamp() > give_up_at;
    END LOOP;
    RETURN NULL;
END
$$;

-- Locks the gate of a line until the end of the transaction, if that is possible in half a second.
CREATE FUNCTION internal.enter_gate(gate bigint) RETURNS boolean
LANGUAGE plpgsql
SET lock_timeout = '500ms'
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(gate);
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END
$$;

-- Whether the user may take a slot in the region now, and their place in its line. While somebody is
-- ahead, users who are not in line count themselves one after the other: two of them would both see the
-- same slot left over. Users in line see each other.
CREATE FUNCTION internal.turn_of(
    area internal.served_region, user_id text, at timestamptz, INOUT has_gate boolean,
    OUT place internal.place_in_line, OUT may_take boolean, OUT waited_seconds double precision)
LANGUAGE plpgsql AS $$
DECLARE
    gate CONSTANT bigint := hashtextextended('line ' || area.region || ' ' || area.client_sha, 0);
BEGIN
    place := internal.place_of(area, user_id, at);
    may_take := place.free > place.ahead;
    IF may_take AND place.ahead > 0 AND place.first_at IS NULL THEN
        -- A transaction waits for one gate only, so that no two wait for each other.
        IF has_gate THEN
            may_take := pg_try_advisory_xact_lock(gate);
        ELSE
            may_take := internal.enter_gate(gate);
            has_gate := true;
        END IF;
        IF may_take THEN
            place := internal.place_of(area, user_id, at);
            may_take := place.free > place.ahead;
        END IF;
    END IF;
    waited_seconds := greatest(0, coalesce(extract(epoch FROM at - place.first_at), 0));
END
$$;

-- Walks the regions, first on instances that did not fail the user lately. `places` has the user's places
-- in the lines of the regions, in their order, where there are lines.
DROP FUNCTION internal.search_slot(text[], text, text, text);
CREATE FUNCTION internal.search_slot(
    serving internal.served_region[], user_id text, session_id text, has_failed boolean,
    at timestamptz,
    OUT taken internal.taken_slot, OUT waited_seconds double precision,
    OUT places internal.place_in_line[], OUT barred_until timestamptz)
LANGUAGE plpgsql AS $$
DECLARE
    give_up_at timestamptz;
    avoid text[] := '{}';
    barred text[] := '{}';
    area internal.served_region;
    image text;
    turn record;
    has_gate boolean := false;
    may_take boolean[];
    waited double precision[];
BEGIN
    IF has_failed THEN
        SELECT coalesce(array_agg(f.instance_id), '{}'),
            coalesce(array_agg(f.instance_id) FILTER (WHERE f.barred_until > now()), '{}'),
            max(f.barred_until) FILTER (WHERE f.barred_until > now())
        INTO avoid, barred, barred_until
        -- OFFSET: a user has few failed sessions, an hour may have thousands.
        FROM (SELECT * FROM internal.failed_sessions u
            WHERE u.user_id = search_slot.user_id OFFSET 0) f
        WHERE f.failed_at > now() - interval '10 minutes';
    END IF;
    LOOP
        FOR n IN 1 .. cardinality(serving) LOOP
            area := serving[n];
            -- Without a line, it is everybody's turn: their place is only looked at if they get no slot.
            IF (area.has_line OR give_up_at IS NOT NULL) AND places[n] IS NULL THEN
                turn := internal.turn_of(area, search_slot.user_id, at, has_gate);
                has_gate := turn.has_gate;
                places[n] := turn.place;
                may_take[n] := turn.may_take;
                waited[n] := turn.waited_seconds;
            END IF;
            CONTINUE WHEN NOT may_take[n];
            waited_seconds := coalesce(waited[n], 0);
            IF give_up_at IS NOT NULL THEN
                taken := internal.await_free_slot(area, search_slot.user_id, session_id,
                    waited_seconds, avoid, give_up_at);
                EXIT WHEN taken.id IS NOT NULL;
                CONTINUE;
            END IF;
            FOREACH image IN ARRAY area.image_ids LOOP
                taken := internal.take_free_slot(
                    area, image, search_slot.user_id, session_id, waited_seconds, avoid);
                IF taken.id IS NOT NULL THEN
                    RETURN;
                END IF;
            END LOOP;
        END LOOP;
        EXIT WHEN give_up_at IS NOT NULL;
        IF avoid <> barred THEN
            avoid := barred;
        ELSE
            -- The last round waits.
            give_up_at := clock_timestamp() + interval '1 second';
        END IF;
    END LOOP;
END
$$;
DROP FUNCTION internal.await_any_slot(text, text[], text, text, text[], timestamptz);
DROP FUNCTION internal.await_slot(uuid, text, text);
DROP FUNCTION internal.take_any_slot(text, text[], text, text, text[]);
DROP FUNCTION internal.take_slot(text, text, text);

-- In how many seconds the user at this place gets a slot, by the last pass's forecast; null if that is
-- unknown.
CREATE FUNCTION internal.estimate_of(region text, client_sha text, place integer, at timestamptz)
RETURNS integer
LANGUAGE plpgsql STABLE AS $$
DECLARE
    estimate integer;
BEGIN
    SELECT CASE WHEN count(*) > 0
        THEN greatest(1, ceil(extract(epoch FROM min(u.at) - estimate_of.at)))::integer END
    INTO estimate
    FROM internal.line_forecasts f
    CROSS JOIN LATERAL (
        -- Slots that were expected until now are in other hands, or late: those ahead get them.
        SELECT coalesce(max(p.slots), 0) AS slots FROM unnest(f.at, f.slots) AS p (at, slots)
        WHERE p.at <= estimate_of.at
    ) past
    CROSS JOIN LATERAL unnest(f.at, f.slots) AS u (at, slots)
    WHERE f.region = estimate_of.region AND f.client_sha = estimate_of.client_sha
        AND f.made_at >= estimate_of.at - interval '2 minutes'
        AND u.at > estimate_of.at AND u.slots - past.slots >= estimate_of.place;
    RETURN estimate;
END
$$;

-- Forgets users who have left the line. Others may be forgetting the same ones: nobody waits.
DROP FUNCTION internal.forget_waiting(text, timestamptz, integer);
CREATE FUNCTION internal.forget_gone(area internal.served_region, gone text[], at timestamptz)
RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM waiting_users w
    WHERE w.region = area.region AND w.client_sha = area.client_sha
        AND w.user_id = ANY (ARRAY(
            SELECT g.user_id FROM waiting_users g
            WHERE g.user_id = ANY (forget_gone.gone) AND g.region = area.region
                AND g.client_sha = area.client_sha
                AND g.last_at < forget_gone.at - make_interval(secs => area.line_seconds)
            FOR UPDATE SKIP LOCKED));
END
$$;

-- Where users who ask in these regions, in this order, are demand: in the first that is enabled and can
-- launch, or in the first that is enabled if none can.
CREATE FUNCTION internal.demand_region(regions text[], at timestamptz) RETURNS text
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT r.name
        FROM unnest(demand_region.regions) WITH ORDINALITY AS a (region, place)
        JOIN public.regions r ON r.name = a.region AND r.enabled
        LEFT JOIN internal.region_capacity c
            ON c.region = r.name AND c.none_until > demand_region.at
        ORDER BY c.region IS NOT NULL, a.place LIMIT 1);
END
$$;

-- Puts a refused user in the line of each region that could serve them, and wakes the first, and where
-- the user is demand.
DROP FUNCTION internal.wait_for_slot(text, text, text);
CREATE FUNCTION internal.wait_in_line(
    serving internal.served_region[], user_id text, session_id text, barred_until timestamptz)
RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    at CONSTANT timestamptz := internal.clock();
    names text[];
BEGIN
    FOR n IN 1 .. cardinality(serving) LOOP
        names[n] := serving[n].region;
    END LOOP;
    INSERT INTO waiting_users AS w
        (user_id, session_id, region, client_sha, regions, barred_until, first_at, last_at)
    SELECT wait_in_line.user_id, wait_in_line.session_id, a.region, a.client_sha, names,
        wait_in_line.barred_until, at, at
    FROM unnest(wait_in_line.serving) a
    ON CONFLICT ON CONSTRAINT waiting_users_pkey DO UPDATE SET
        session_id = excluded.session_id, regions = excluded.regions,
        barred_until = excluded.barred_until, last_at = excluded.last_at,
        first_at = CASE WHEN w.last_at >= at - (
                SELECT make_interval(secs => a.line_seconds) FROM unnest(wait_in_line.serving) a
                WHERE a.region = w.region)
            THEN w.first_at ELSE at END;
    PERFORM internal.wake(names[1], NULL);
    IF cardinality(names) > 1 THEN
        PERFORM internal.wake(internal.demand_region(names, at), NULL);
    END IF;
END
$$;

DROP FUNCTION internal.serving_regions(text[], text);
DROP FUNCTION internal.enabled_regions(jsonb);
DROP FUNCTION internal.images_for(text, text);
DROP FUNCTION internal.assign_refusal(text, integer, text[], text[], text);
DROP FUNCTION internal.assign_answer(text, uuid, text, text);
-- Completes the answer to a user who keeps a slot.
CREATE FUNCTION internal.answer_with_slot(answer assign_results, slot_id uuid) RETURNS assign_results
LANGUAGE plpgsql STABLE AS $$
BEGIN
    answer.outcome := 'ALREADY_ASSIGNED';
    SELECT s.id, i.ip_addr, i.region, i.id, s.waited_seconds
    INTO answer.slot_id, answer.ip_addr, answer.region, answer.instance_id, answer.waited_seconds
    FROM slots s JOIN instances i ON i.id = s.instance_id WHERE s.id = answer_with_slot.slot_id;
    RETURN answer;
END
$$;

CREATE OR REPLACE FUNCTION assign_slot(
    user_id text, session_id text, regions jsonb, client_sha text, user_limit integer,
    environment text, local_dev boolean)
RETURNS SETOF assign_results
LANGUAGE plpgsql
-- Statistics of small tables may be old when the tables are large: the plans are the same at any size.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashagg = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET enable_memoize = off
SET jit = off
AS $$
DECLARE
    -- Null selects the current image, regardless of the commit it was built from.
    wanted_sha CONSTANT text := CASE WHEN coalesce(assign_slot.local_dev, false) THEN NULL
        ELSE coalesce(assign_slot.client_sha, '') END;
    at timestamptz;
    asked_region text;
    asked text[] := '{}';
    area internal.served_region;
    serving internal.served_region[] := '{}';
    others bigint;
    held_id uuid;
    held slots;
    claim interval;
    held_too_long boolean;
    refusal text;
    in_line boolean;
    has_failed boolean;
    search record;
    taken internal.taken_slot;
    never CONSTANT integer := 2147483647;
    place integer;
    estimate integer;
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
        SELECT h.region, h.client_sha,
            CASE WHEN wanted_sha IS NULL THEN ARRAY[h.current_image_id] ELSE h.image_ids END,
            now() - make_interval(secs => h.heartbeat_seconds), h.line_seconds,
            EXISTS (SELECT FROM waiting_users w
                WHERE w.region = h.region AND w.client_sha = h.client_sha)
        INTO area
        FROM internal.served_hashes h
        WHERE h.region = asked_region AND h.client_sha = coalesce(wanted_sha, (
            SELECT c.client_sha FROM internal.served_hashes c
            WHERE c.region = asked_region AND c.current_image_id IS NOT NULL));
        IF FOUND THEN
            asked := asked || asked_region;
            serving := serving || area;
        ELSIF EXISTS (SELECT FROM public.regions r WHERE r.name = asked_region AND r.enabled) THEN
            asked := asked || asked_region;
        END IF;
    END LOOP;
    answer.nearest := asked[1];
    SELECT v.version, v.client_sha INTO answer.app_version, answer.app_client_sha
    FROM app_versions v WHERE v.environment = assign_slot.environment;
    -- What is known of the user.
    SELECT count(*) FILTER (WHERE s.session_id <> assign_slot.session_id),
        (array_agg(s.id) FILTER (WHERE s.session_id = assign_slot.session_id))[1],
        EXISTS (SELECT FROM waiting_users w WHERE w.user_id = assign_slot.user_id),
        EXISTS (SELECT FROM internal.failed_sessions f WHERE f.user_id = assign_slot.user_id)
    INTO others, held_id, in_line, has_failed
    FROM slots s
    WHERE s.user_id = assign_slot.user_id AND s.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING');

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
            RETURN NEXT internal.answer_with_slot(answer, held.id);
            RETURN;
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
        refusal := 'USER_ALREADY_ACTIVE';
    ELSIF asked = '{}' THEN
        refusal := 'REGION_NOT_ENABLED';
    ELSIF serving = '{}' THEN
        -- A client is outdated only if there is an image for another one. A null
        -- `wanted_sha` would take any.
        refusal := CASE WHEN wanted_sha IS NULL OR NOT EXISTS (SELECT FROM images m
                WHERE m.region = ANY (asked) AND m.state IN ('CURRENT', 'BAKING'))
            THEN 'NO_IMAGE_SERVED' ELSE 'COMMIT_HASH_MISMATCH' END;
    ELSE
        search := internal.search_slot(
            serving, assign_slot.user_id, assign_slot.session_id, has_failed, at);
        taken := search.taken;
    END IF;

    IF taken.id IS NOT NULL THEN
        IF in_line THEN
            -- The user is served, so they are in no line any more.
            DELETE FROM waiting_users w WHERE w.user_id = assign_slot.user_id;
        END IF;
        PERFORM internal.wake(taken.region, taken.image_id);
        answer.outcome := 'ASSIGNED';
        answer.slot_id := taken.id;
        answer.ip_addr := taken.ip_addr;
        answer.region := taken.region;
        answer.instance_id := taken.instance_id;
        answer.waited_seconds := search.waited_seconds;
        RETURN NEXT answer;
        RETURN;
    END IF;
    -- There is no other. An instance that leaves still takes this user.
    IF held.id IS NOT NULL AND held_too_long IS NOT TRUE AND internal.is_alive(held.instance_id) THEN
        UPDATE slots s SET status = 'ALLOCATED', user_id = assign_slot.user_id,
            session_id = assign_slot.session_id, first_allocated_at = held.first_allocated_at,
            allocated_at = greatest(held.allocated_at,
                least(internal.clock(), held.first_allocated_at + 2 * claim)),
            waited_seconds = held.waited_seconds
        WHERE s.id = held.id;
        RETURN NEXT internal.answer_with_slot(answer, held.id);
        RETURN;
    END IF;
    IF refusal IS NOT NULL THEN
        answer.outcome := refusal;
        RETURN NEXT answer;
        RETURN;
    END IF;
    -- A refusal promises a place, not a slot, and may be lost in a crash of the database: the user asks
    -- again. So nobody waits for the disk here.
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM internal.wait_in_line(
        serving, assign_slot.user_id, assign_slot.session_id, search.barred_until);
    -- The line in which the user may expect a slot soonest.
    FOR n IN 1 .. cardinality(serving) LOOP
        place := (search.places)[n].ahead + 1;
        estimate := internal.estimate_of(serving[n].region, serving[n].client_sha, place, at);
        IF n = 1 OR (coalesce(estimate, never), place)
            < (coalesce(answer.estimate_seconds, never), answer.place)
        THEN
            answer.place := place;
            answer.estimate_seconds := estimate;
            answer.line_seconds := serving[n].line_seconds;
        END IF;
    END LOOP;
    answer.outcome := 'NO_INSTANCE_AVAILABLE';
    RETURN NEXT answer;
    -- At last: whoever waits for a row that is forgotten here waits for the end of this transaction only.
    FOR n IN 1 .. cardinality(serving) LOOP
        IF (search.places)[n].gone IS NOT NULL THEN
            PERFORM internal.forget_gone(serving[n], (search.places)[n].gone, at);
        END IF;
    END LOOP;
END
$$;

-- Whether an assign has left fewer free slots of the image than the target. Asked after each assign, so it
-- must not count as many slots as the target has: it counts once and remembers until when that holds, by
-- the slots that were free above the target. No database assigns more than 5,000 slots in a second. Assigns
-- under way do not see each other: the last few slots are not relied on.
--
-- It counts in the index of free slots and does not look at their instances. Those that EC2 is about to take
-- are few, and are subtracted. Those that have fallen silent count: nothing happens at that moment that could
-- wake a region, and passes notice it by the time.
CREATE TABLE internal.spare_slots (
    region   text NOT NULL,
    image_id text NOT NULL,
    -- From three quarters of the time on, one assign counts anew, while the others still rely on the old count.
    renew_at timestamptz NOT NULL,
    until    timestamptz NOT NULL,
    PRIMARY KEY (region, image_id)
) WITH (fillfactor = 50);
CREATE INDEX instances_interrupted ON instances (region, image_id) WHERE notice = 'INTERRUPTION';
-- Whether this transaction may write the count of spare slots, and nobody else.
CREATE FUNCTION internal.counts_spare_slots(region text, image_id text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    RETURN pg_try_advisory_xact_lock(hashtextextended(
        'spare ' || counts_spare_slots.region || ' ' || counts_spare_slots.image_id, 0));
END
$$;
DROP FUNCTION internal.is_below_target(text, text[]);
CREATE FUNCTION internal.is_below_target(region text, image_id text) RETURNS boolean
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
    SELECT count(*) INTO leaving
    FROM instances i
    JOIN slots s ON s.instance_id = i.id AND s.instance_active
        AND internal.is_free(s.status, s.free_from)
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
    IF lasts > '0' AND internal.counts_spare_slots(is_below_target.region, is_below_target.image_id)
    THEN
        INSERT INTO internal.spare_slots AS p (region, image_id, renew_at, until)
        VALUES (is_below_target.region, is_below_target.image_id, at + lasts * 0.75, at + lasts)
        ON CONFLICT ON CONSTRAINT spare_slots_pkey DO UPDATE SET
            renew_at = excluded.renew_at, until = excluded.until;
    END IF;
    RETURN free < target;
END
$$;

-- Wakes a region, at most once in two seconds: if the image has fewer free slots than the target, or without
-- an image in any case. Who finds another one doing so does not wait for it. If that one is rolled back, the
-- next assign wakes the region, or the schedule.
DROP FUNCTION internal.wake(text, text[]);
CREATE FUNCTION internal.wake(region text, image_id text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    this_bucket CONSTANT timestamptz := date_bin('2 seconds', internal.clock(), 'epoch');
BEGIN
    IF EXISTS (SELECT FROM region_wakeups w
            WHERE w.region = wake.region AND w.bucket = this_bucket)
        OR EXISTS (SELECT FROM internal.spare_slots p
            WHERE p.region = wake.region AND p.image_id = wake.image_id
                AND p.until > internal.clock() AND (p.renew_at > internal.clock()
                    OR NOT internal.counts_spare_slots(wake.region, wake.image_id)))
    THEN
        RETURN;
    END IF;
    IF (wake.image_id IS NULL OR internal.is_below_target(wake.region, wake.image_id))
        AND pg_try_advisory_xact_lock(
            hashtextextended('wake ' || wake.region || ' ' || this_bucket::text, 0))
    THEN
        INSERT INTO region_wakeups (region, bucket) VALUES (wake.region, this_bucket)
        ON CONFLICT DO NOTHING;
    END IF;
END
$$;
DROP FUNCTION internal.with_room(text, text);

CREATE OR REPLACE FUNCTION internal.prune(region text) RETURNS void
LANGUAGE sql AS $$
    DELETE FROM region_wakeups w WHERE (w.region, w.bucket) IN (
        SELECT o.region, o.bucket FROM region_wakeups o
        WHERE o.region = prune.region AND o.bucket < now() - interval '1 hour'
        ORDER BY o.bucket LIMIT 2000 FOR UPDATE SKIP LOCKED);
    DELETE FROM waiting_users w WHERE (w.user_id, w.region, w.client_sha) IN (
        SELECT o.user_id, o.region, o.client_sha FROM waiting_users o
        JOIN regions r ON r.name = o.region
        WHERE o.region = prune.region AND o.last_at < now() - make_interval(secs => r.line_seconds)
        LIMIT 2000 FOR UPDATE OF o SKIP LOCKED);
    DELETE FROM internal.spare_slots p WHERE (p.region, p.image_id) IN (
        SELECT o.region, o.image_id FROM internal.spare_slots o
        WHERE o.region = prune.region AND o.until < now() - interval '1 hour'
        FOR UPDATE SKIP LOCKED);
$$;

CREATE OR REPLACE FUNCTION internal.slot_is_released() RETURNS trigger
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
    NEW.waited_seconds := 0;
    RETURN NEW;
END
$$;

-- Where an agent was revoked, nobody can connect any more.
CREATE OR REPLACE FUNCTION internal.is_alive(instance_id text) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM instances i JOIN heartbeats h ON h.instance_id = i.id
        WHERE i.id = is_alive.instance_id AND i.status IN ('ACTIVE', 'DRAINING')
            AND i.revoked_at IS NULL AND h.beat_at >= internal.beat_since(i.region))
$$;

-- Locks the slots too, which the drain changes: an assign locks only them.
CREATE OR REPLACE FUNCTION drain_instances(region text, version bigint, ids jsonb, cause text)
RETURNS SETOF write_results
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
    locked := internal.try_lock_slots(internal.try_lock_instances(drain_instances.region, given));
    results := ARRAY(
        SELECT ROW(g.id, CASE
                WHEN i.id IS NULL THEN 'UNKNOWN'
                WHEN i.status = 'DRAINING' THEN 'ALREADY'
                WHEN i.status = 'TERMINATING' THEN 'WRONG_STATE'
                WHEN NOT u.may_stay AND internal.is_occupied(i.id) THEN 'OCCUPIED'
                WHEN i.id <> ALL (locked) THEN 'BUSY'
                ELSE 'DONE'
            END)::write_results
        FROM unnest(given) AS g (id)
        LEFT JOIN instances i ON i.id = g.id AND i.region = drain_instances.region
        -- Users on an instance that EC2 is about to take lose it anyway, and those on a suspect stay.
        -- Draining it keeps other users from being assigned to it.
        CROSS JOIN LATERAL (SELECT i.notice IS NOT NULL
            OR drain_instances.cause IS NOT DISTINCT FROM 'SUSPECT' AS may_stay) u
        ORDER BY g.id);
    UPDATE instances i SET status = 'DRAINING', draining_since = internal.clock(),
        drain_cause = drain_instances.cause
    FROM unnest(results) r WHERE i.id = r.id AND r.outcome = 'DONE';
    RETURN QUERY SELECT * FROM unnest(results);
EXCEPTION WHEN lock_not_available THEN
    RETURN QUERY SELECT * FROM internal.all_busy(given);
END
$$;

-- The same for what takes a drain back.
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
    locked := internal.try_lock_slots(
        internal.try_lock_instances(reopen_instances.region, given));
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

-- An agent powers off by this one answer. Once it was told of a drain, that is not taken back
-- (`reopen_instances` reads the time of the heartbeat).
CREATE OR REPLACE FUNCTION own_instance(instance_id text, hasura_session json)
RETURNS SETOF own_instances
LANGUAGE plpgsql AS $$
DECLARE
    host instances;
    is_told boolean := false;
BEGIN
    LOOP
        SELECT i.* INTO host FROM instances i
        WHERE i.id = own_instance.instance_id AND internal.is_own(i, own_instance.hasura_session);
        IF NOT FOUND THEN
            RETURN;
        END IF;
        EXIT WHEN host.status <> 'DRAINING' OR is_told;
        PERFORM FROM instances i WHERE i.id = host.id AND i.status = 'DRAINING' FOR SHARE;
        IF FOUND THEN
            PERFORM internal.beat(host.id);
            is_told := true;
        END IF;
    END LOOP;
    RETURN QUERY SELECT host.id, host.status, host.notice, coalesce(
        jsonb_agg(jsonb_build_object('id', s.id, 'status', s.status,
            'user_id', s.user_id, 'session_id', s.session_id) ORDER BY s.id), '[]')
    FROM slots s WHERE s.instance_id = host.id;
END
$$;
