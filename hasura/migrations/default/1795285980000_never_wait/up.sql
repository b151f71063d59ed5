-- A pass never waits for a row that others can hold.
--
-- A mutation is one transaction, however many fields it has, and holds its locks until it ends. A
-- host agent chooses its own mutations, so it can hold its locks for as long as the statement
-- timeout of Hasura's role allows. A pass that waited for them would hold the region's fence all
-- that time, and no other write of the region could be made.
--
-- What others can hold, and what a pass does about it:
--
-- | lock                          | held by                                      | a pass's write |
-- |-------------------------------|----------------------------------------------|----------------|
-- | instance, FOR SHARE           | heartbeat, claim, report, replace; assigns   | skips the instance (SKIP LOCKED) |
-- | instance, FOR UPDATE, changed | register, leave; notices, operators          | skips the instance; an insert first looks for the row, because ON CONFLICT waits for one that changes |
-- | slot                          | claim, report, replace; assigns, repeated    | releasing skips the slot; ending and deleting skip the instance, all of whose slots have to be free |
-- |                               |   ones without a lock on the instance        |                |
-- | heartbeat, new slots          | agents that hold the instance, too           | skips the instance: nobody else can have them, nor get them |
-- | advisory locks                | leave (of its region), assigns (of a user)   | takes none     |
-- | wake-ups, waiting users       | assigns                                      | prunes with SKIP LOCKED |
-- | fence, images, region         | other passes, operators                      | lock_timeout   |
--
-- What is skipped is BUSY, and comes with the next pass. Only a change needs the lock: an answer
-- that changes nothing is given in any case.
--
-- `lock_timeout` is the last line, for a wait that is missing above: the write changes nothing, and
-- all of it is BUSY. It is shorter than PostgreSQL's `deadlock_timeout`. Results are returned after
-- the last statement that could wait, because rows that a function has returned are not taken back
-- with the rest.

DROP FUNCTION internal.lock_instances(text, jsonb);

-- Locks those of the region's instances that nobody holds, and returns their ids.
CREATE FUNCTION internal.try_lock_instances(region text, ids text[]) RETURNS text[]
LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY(
        SELECT i.id FROM instances i
        WHERE i.region = try_lock_instances.region AND i.id = ANY (try_lock_instances.ids)
        ORDER BY i.id FOR UPDATE SKIP LOCKED);
END
$$;

-- Locks the slots of instances that the caller has locked, and returns those instances of which
-- nobody holds a slot.
CREATE FUNCTION internal.try_lock_slots(instance_ids text[]) RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
    locked uuid[];
BEGIN
    locked := ARRAY(
        SELECT s.id FROM slots s WHERE s.instance_id = ANY (try_lock_slots.instance_ids)
        ORDER BY s.id FOR UPDATE SKIP LOCKED);
    RETURN ARRAY(
        SELECT unnest(try_lock_slots.instance_ids)
        EXCEPT
        SELECT s.instance_id FROM slots s LEFT JOIN unnest(locked) AS l (id) ON l.id = s.id
        WHERE s.instance_id = ANY (try_lock_slots.instance_ids) AND l.id IS NULL);
END
$$;

-- The answer of a write that would have waited.
CREATE FUNCTION internal.all_busy(ids text[]) RETURNS SETOF write_results
LANGUAGE sql IMMUTABLE AS $$
    SELECT DISTINCT a.id, 'BUSY' FROM unnest(all_busy.ids) AS a (id) ORDER BY a.id
$$;

-- The ids of a JSON array of ids.
CREATE FUNCTION internal.ids_of(ids jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT ARRAY(SELECT DISTINCT jsonb_array_elements_text(coalesce(ids_of.ids, '[]')))
$$;

-- Inserts those of the given instances that have no row.
--
-- A row that its agent is changing has its id, and an INSERT with ON CONFLICT waits to see whether
-- it will keep it. So that row is found first.
CREATE FUNCTION internal.insert_new_instances(region text, given jsonb, status text)
RETURNS write_results[]
LANGUAGE plpgsql AS $$
DECLARE
    known CONSTANT text[] := ARRAY(
        SELECT i.id FROM instances i
        WHERE i.id IN (SELECT g ->> 'id' FROM jsonb_array_elements(insert_new_instances.given) g));
    inserted CONSTANT write_results[] := ARRAY(
        SELECT w FROM internal.insert_instances(
            insert_new_instances.region,
            (SELECT coalesce(jsonb_agg(g), '[]')
             FROM jsonb_array_elements(insert_new_instances.given) g
             WHERE (g ->> 'id' = ANY (known)) IS NOT TRUE),
            insert_new_instances.status) w);
BEGIN
    RETURN ARRAY(
        SELECT ROW(w.id, w.outcome)::write_results FROM (
            SELECT g ->> 'id' AS id, 'ALREADY' AS outcome
            FROM jsonb_array_elements(insert_new_instances.given) g WHERE g ->> 'id' = ANY (known)
            UNION ALL SELECT n.id, n.outcome FROM unnest(inserted) n
        ) w ORDER BY w.id);
END
$$;

CREATE OR REPLACE FUNCTION record_instances(region text, version bigint, instances jsonb)
RETURNS SETOF write_results
LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$
DECLARE
    results write_results[];
BEGIN
    IF internal.fenced(record_instances.region, record_instances.version) THEN
        RETURN QUERY SELECT record_instances.region, 'FENCED';
        RETURN;
    END IF;
    results := internal.insert_new_instances(
        record_instances.region, record_instances.instances, 'PRE_CONNECTION');
    RETURN QUERY SELECT * FROM unnest(results);
EXCEPTION WHEN lock_not_available THEN
    RETURN QUERY SELECT * FROM internal.all_busy(ARRAY(
        SELECT g ->> 'id' FROM jsonb_array_elements(record_instances.instances) g));
END
$$;
COMMENT ON FUNCTION record_instances IS
    'Records launched instances. DONE, ALREADY, BUSY, or FENCED.';

CREATE OR REPLACE FUNCTION adopt_orphans(region text, version bigint, instances jsonb)
RETURNS SETOF write_results
LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$
DECLARE
    results write_results[];
BEGIN
    IF internal.fenced(adopt_orphans.region, adopt_orphans.version) THEN
        RETURN QUERY SELECT adopt_orphans.region, 'FENCED';
        RETURN;
    END IF;
    results := internal.insert_new_instances(
        adopt_orphans.region, adopt_orphans.instances, 'TERMINATING');
    RETURN QUERY SELECT * FROM unnest(results);
EXCEPTION WHEN lock_not_available THEN
    RETURN QUERY SELECT * FROM internal.all_busy(ARRAY(
        SELECT g ->> 'id' FROM jsonb_array_elements(adopt_orphans.instances) g));
END
$$;
COMMENT ON FUNCTION adopt_orphans IS
    'Records instances that have no row as TERMINATING. DONE, ALREADY, BUSY, or FENCED.';

CREATE OR REPLACE FUNCTION drain_instances(region text, version bigint, ids jsonb, cause text)
RETURNS SETOF write_results
LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$
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
COMMENT ON FUNCTION drain_instances IS
    'Drains instances that are empty, that EC2 is about to take, or whose sessions end quickly: no '
    'users are assigned to them any more. DONE, ALREADY, OCCUPIED, WRONG_STATE, UNKNOWN, BUSY, or '
    'FENCED.';

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
COMMENT ON FUNCTION reopen_instances IS
    'Takes back drains for surplus of which the agents do not know yet. DONE, ALREADY, '
    'WRONG_STATE, UNKNOWN, BUSY, or FENCED.';

-- TERMINATING is final, so it is ALREADY even while somebody holds the row: an agent cannot keep
-- EC2 from being asked again.
CREATE OR REPLACE FUNCTION terminate_instances(
    region text, version bigint, ids jsonb, reason text)
RETURNS SETOF write_results
LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$
DECLARE
    given CONSTANT text[] := internal.ids_of(terminate_instances.ids);
    locked text[];
    results write_results[];
BEGIN
    IF coalesce(terminate_instances.reason, '') NOT IN ('EMPTY', 'LOST', 'MISSING', 'GONE') THEN
        RAISE EXCEPTION 'terminate_instances: reason must be EMPTY, LOST, MISSING or GONE, not %',
            coalesce(terminate_instances.reason, 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF internal.fenced(terminate_instances.region, terminate_instances.version) THEN
        RETURN QUERY SELECT terminate_instances.region, 'FENCED';
        RETURN;
    END IF;
    locked := internal.try_lock_slots(
        internal.try_lock_instances(terminate_instances.region, given));
    results := ARRAY(
        SELECT ROW(g.id, CASE
                WHEN i.id IS NULL THEN 'UNKNOWN'
                WHEN i.status = 'TERMINATING' THEN 'ALREADY'
                WHEN terminate_instances.reason = 'EMPTY' AND internal.is_occupied(i.id)
                    THEN 'OCCUPIED'
                -- It registered after the pass observed it, so it must be drained first.
                WHEN terminate_instances.reason = 'EMPTY' AND i.status = 'ACTIVE'
                    THEN 'WRONG_STATE'
                -- An instance that sends heartbeats exists, even if a listing omits it.
                WHEN terminate_instances.reason = 'MISSING'
                    AND h.beat_at >= now() - make_interval(secs => r.heartbeat_seconds)
                    THEN 'ALIVE'
                WHEN terminate_instances.reason = 'LOST'
                    AND greatest(coalesce(h.beat_at, i.active_at, i.launched_at),
                            internal.watched_since(i.region))
                        >= now() - make_interval(secs => r.lost_seconds) THEN 'ALIVE'
                WHEN i.id <> ALL (locked) THEN 'BUSY'
                ELSE 'DONE'
            END)::write_results
        FROM unnest(given) AS g (id)
        LEFT JOIN instances i ON i.id = g.id AND i.region = terminate_instances.region
        LEFT JOIN regions r ON r.name = i.region
        LEFT JOIN heartbeats h ON h.instance_id = i.id
        ORDER BY g.id);
    UPDATE instances i SET status = 'TERMINATING'
    FROM unnest(results) r WHERE i.id = r.id AND r.outcome = 'DONE';
    -- The sessions ended with their instance. DYING slots let their users be assigned
    -- again, and a repeated request does not return the dead address.
    UPDATE slots s SET status = 'DYING'
    FROM unnest(results) r WHERE s.instance_id = r.id AND r.outcome = 'DONE'
        AND s.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING');
    RETURN QUERY SELECT * FROM unnest(results);
EXCEPTION WHEN lock_not_available THEN
    RETURN QUERY SELECT * FROM internal.all_busy(given);
END
$$;
COMMENT ON FUNCTION terminate_instances IS
    'Sets instances to TERMINATING because they are EMPTY, LOST (no heartbeat), MISSING from '
    'listings, or GONE from EC2. DONE, ALREADY, OCCUPIED, ALIVE, WRONG_STATE, UNKNOWN, BUSY, or '
    'FENCED.';

CREATE OR REPLACE FUNCTION remove_instances(region text, version bigint, ids jsonb)
RETURNS SETOF write_results
LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$
DECLARE
    given CONSTANT text[] := internal.ids_of(remove_instances.ids);
    locked text[];
    results write_results[];
BEGIN
    IF internal.fenced(remove_instances.region, remove_instances.version) THEN
        RETURN QUERY SELECT remove_instances.region, 'FENCED';
        RETURN;
    END IF;
    -- What is deleted with an instance has to be free, too.
    locked := internal.try_lock_slots(
        internal.try_lock_instances(remove_instances.region, given));
    results := ARRAY(
        SELECT ROW(g.id, CASE
                WHEN i.id IS NULL THEN 'UNKNOWN'
                WHEN i.status <> 'TERMINATING' THEN 'WRONG_STATE'
                WHEN i.id <> ALL (locked) THEN 'BUSY'
                ELSE 'DONE'
            END)::write_results
        FROM unnest(given) AS g (id)
        LEFT JOIN instances i ON i.id = g.id AND i.region = remove_instances.region
        ORDER BY g.id);
    DELETE FROM instances i USING unnest(results) r WHERE i.id = r.id AND r.outcome = 'DONE';
    RETURN QUERY SELECT * FROM unnest(results);
EXCEPTION WHEN lock_not_available THEN
    RETURN QUERY SELECT * FROM internal.all_busy(given);
END
$$;
COMMENT ON FUNCTION remove_instances IS
    'Deletes TERMINATING instances that the caller knows to be gone. DONE, WRONG_STATE, UNKNOWN, '
    'BUSY, or FENCED.';

CREATE OR REPLACE FUNCTION note_missing(
    region text, version bigint, missing jsonb, present jsonb)
RETURNS SETOF write_results
LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$
DECLARE
    -- An id in both lists counts as present: a wrong "missing" would begin a removal.
    all_present CONSTANT text[] := internal.ids_of(note_missing.present);
    given CONSTANT text[] := internal.ids_of(
        coalesce(note_missing.missing, '[]') || coalesce(note_missing.present, '[]'));
    to_change text[];
    locked text[];
    results write_results[];
BEGIN
    IF internal.fenced(note_missing.region, note_missing.version) THEN
        RETURN QUERY SELECT note_missing.region, 'FENCED';
        RETURN;
    END IF;
    -- Locks only rows that change. Assigning skips a locked instance, and most of a
    -- listing has not changed.
    to_change := ARRAY(
        SELECT i.id FROM instances i JOIN unnest(given) AS g (id) ON g.id = i.id
        WHERE i.region = note_missing.region
            AND (i.missing_since IS NULL) = (g.id <> ALL (all_present)));
    locked := internal.try_lock_instances(note_missing.region, to_change);
    results := ARRAY(
        SELECT ROW(g.id, CASE
                WHEN i.id IS NULL THEN 'UNKNOWN'
                WHEN g.id <> ALL (to_change) THEN 'ALREADY'
                WHEN g.id <> ALL (locked) THEN 'BUSY'
                ELSE 'DONE'
            END)::write_results
        FROM unnest(given) AS g (id)
        LEFT JOIN instances i ON i.id = g.id AND i.region = note_missing.region
        ORDER BY g.id);
    UPDATE instances i
    SET missing_since = CASE WHEN r.id <> ALL (all_present) THEN now() END
    FROM unnest(results) r WHERE i.id = r.id AND r.outcome = 'DONE';
    RETURN QUERY SELECT * FROM unnest(results);
EXCEPTION WHEN lock_not_available THEN
    RETURN QUERY SELECT * FROM internal.all_busy(given);
END
$$;
COMMENT ON FUNCTION note_missing IS
    'Records since when instances are missing from listings, or that they are listed again. '
    'DONE, ALREADY, UNKNOWN, BUSY, or FENCED.';

-- The instances are not locked: they do not change, and who assigns, claims or replaces a slot
-- locks that slot.
CREATE OR REPLACE FUNCTION release_unclaimed(region text, version bigint)
RETURNS SETOF write_results
LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$
DECLARE
    unclaimed_before timestamptz;
    locked uuid[];
BEGIN
    IF internal.fenced(release_unclaimed.region, release_unclaimed.version) THEN
        RETURN QUERY SELECT release_unclaimed.region, 'FENCED';
        RETURN;
    END IF;
    SELECT now() - make_interval(secs => r.claim_seconds) INTO unclaimed_before
    FROM regions r WHERE r.name = release_unclaimed.region;
    locked := ARRAY(
        SELECT s.id FROM slots s
        WHERE s.region = release_unclaimed.region AND s.status = 'ALLOCATED'
            AND s.allocated_at < unclaimed_before
        ORDER BY s.id FOR UPDATE SKIP LOCKED);
    UPDATE slots s
    SET status = 'WAITING', user_id = NULL, session_id = NULL, allocated_at = NULL
    WHERE s.id = ANY (locked);
    -- Those that are still unclaimed were skipped.
    RETURN QUERY
    SELECT o.id::text, o.outcome FROM (
        SELECT l.id, 'DONE' AS outcome FROM unnest(locked) AS l (id)
        UNION ALL
        SELECT s.id, 'BUSY' FROM slots s
        WHERE s.region = release_unclaimed.region AND s.status = 'ALLOCATED'
            AND s.allocated_at < unclaimed_before
    ) o ORDER BY o.id;
EXCEPTION WHEN lock_not_available THEN
    RETURN QUERY SELECT * FROM internal.all_busy(ARRAY[release_unclaimed.region]);
END
$$;
COMMENT ON FUNCTION release_unclaimed IS
    'Frees slots that were not claimed within the region''s claim_seconds. One row per slot, DONE '
    'or BUSY; or one row for the region, FENCED or BUSY.';

CREATE OR REPLACE FUNCTION move_image(region text, version bigint, image_id text, from_state text,
    to_state text, reason text)
RETURNS SETOF write_results
LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$
DECLARE
    state_now text;
    asked_since boolean;
BEGIN
    -- A null state is rejected, too.
    IF NOT coalesce((move_image.from_state, move_image.to_state) IN (('WARMING', 'CURRENT'),
        ('BAKING', 'CURRENT'), ('WARMING', 'FAILED'), ('BAKING', 'RETIRED')), false) THEN
        RAISE EXCEPTION 'move_image: no image goes from % to %',
            coalesce(move_image.from_state, 'null'), coalesce(move_image.to_state, 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF internal.fenced(move_image.region, move_image.version) THEN
        RETURN QUERY SELECT move_image.region, 'FENCED';
        RETURN;
    END IF;
    -- The image may have been requested again after the pass observed it. It then has
    -- the same state with a newer `state_since`, and the decision, which was based on
    -- the older time, no longer applies.
    SELECT m.state, coalesce(m.state_since > f.last_pass_at, false) INTO state_now, asked_since
    FROM images m JOIN region_fences f ON f.region = m.region
    WHERE m.region = move_image.region AND m.image_id = move_image.image_id FOR UPDATE OF m;
    IF NOT FOUND THEN
        RETURN QUERY SELECT move_image.image_id, 'UNKNOWN';
    ELSIF state_now = move_image.to_state THEN
        RETURN QUERY SELECT move_image.image_id, 'ALREADY';
    ELSIF state_now <> move_image.from_state OR asked_since THEN
        RETURN QUERY SELECT move_image.image_id, 'WRONG_STATE';
    ELSE
        IF move_image.to_state = 'CURRENT' THEN
            PERFORM internal.make_current(move_image.region, move_image.image_id);
        ELSE
            UPDATE images m SET state = move_image.to_state, reason = move_image.reason
            WHERE m.region = move_image.region AND m.image_id = move_image.image_id;
        END IF;
        RETURN QUERY SELECT move_image.image_id, 'DONE';
    END IF;
EXCEPTION WHEN lock_not_available THEN
    RETURN QUERY SELECT * FROM internal.all_busy(ARRAY[move_image.image_id]);
END
$$;
COMMENT ON FUNCTION move_image IS
    'Moves an image from one state to the next. An image that is replaced as CURRENT becomes '
    'BAKING. DONE, ALREADY, WRONG_STATE, UNKNOWN, BUSY, or FENCED.';

-- The other writes of passes skip what is held, too. With them, this error fails their step.
DO $$
DECLARE
    write regprocedure;
BEGIN
    FOR write IN
        SELECT p.oid FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace AND 'version' = ANY (p.proargnames)
            AND p.proname <> 'begin_pass' AND p.proconfig IS NULL
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET lock_timeout = ''500ms''', write);
    END LOOP;
END
$$;

-- An event of EC2 comes once, and it holds no fence: it waits for a moment, and is sent again if that
-- is not enough.
CREATE OR REPLACE FUNCTION give_notice(instance_id text, notice text) RETURNS SETOF write_results
LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
DECLARE
    host instances;
BEGIN
    IF coalesce(give_notice.notice, '') NOT IN ('REBALANCE', 'INTERRUPTION') THEN
        RAISE EXCEPTION 'give_notice: notice must be REBALANCE or INTERRUPTION, not %',
            coalesce(give_notice.notice, 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT i.* INTO host FROM instances i WHERE i.id = give_notice.instance_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT give_notice.instance_id, 'UNKNOWN';
    ELSIF host.status = 'TERMINATING' THEN
        RETURN QUERY SELECT host.id, 'WRONG_STATE';
    ELSIF host.notice = give_notice.notice OR host.notice = 'INTERRUPTION' THEN
        RETURN QUERY SELECT host.id, 'ALREADY';
    ELSE
        UPDATE instances i SET notice = give_notice.notice WHERE i.id = host.id;
        RETURN QUERY SELECT host.id, 'DONE';
    END IF;
EXCEPTION WHEN lock_not_available THEN
    RETURN QUERY SELECT * FROM internal.all_busy(ARRAY[give_notice.instance_id]);
END
$$;
COMMENT ON FUNCTION give_notice IS
    'Records a Spot notice: EC2 is about to take an instance. DONE, ALREADY, WRONG_STATE (the '
    'instance is TERMINATING), UNKNOWN, or BUSY.';

-- As before, with the user whom Hasura connects as.
CREATE OR REPLACE FUNCTION doctor() RETURNS SETOF doctor_facts
LANGUAGE sql VOLATILE AS $$
    WITH triggers AS (
        SELECT c.relname || '.' || t.tgname AS name, t.tgenabled = 'D' AS disabled
        FROM pg_trigger t
        JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = 'public'::regnamespace AND t.tgname LIKE 'notify\_hasura\_%'
    )
    SELECT jsonb_build_object(
        'version_num', current_setting('server_version_num')::integer,
        'now', clock_timestamp(),
        'max_connections', current_setting('max_connections')::integer,
        'functions', (
            SELECT coalesce(jsonb_agg(DISTINCT p.proname), '[]') FROM pg_proc p
            WHERE p.pronamespace = 'public'::regnamespace),
        'region_columns', (
            SELECT coalesce(jsonb_agg(a.attname), '[]') FROM pg_attribute a
            WHERE a.attrelid = 'regions'::regclass AND a.attnum > 0 AND NOT a.attisdropped),
        'event_triggers', (SELECT coalesce(jsonb_agg(t.name), '[]') FROM triggers t),
        'disabled_triggers', (
            SELECT coalesce(jsonb_agg(t.name), '[]') FROM triggers t WHERE t.disabled),
        'user', jsonb_build_object(
            'name', current_user,
            -- Of the user, and of whoever owns the functions.
            'superusers', (
                SELECT coalesce(jsonb_agg(r.rolname ORDER BY r.rolname), '[]') FROM pg_roles r
                WHERE r.rolsuper AND (r.rolname = current_user OR r.oid IN (
                    SELECT p.proowner FROM pg_proc p
                    WHERE p.pronamespace = 'internal'::regnamespace OR p.proname = 'assign_slot'))),
            'unbounded', (
                SELECT coalesce(jsonb_agg(s.name ORDER BY s.name), '[]') FROM pg_settings s
                WHERE s.setting = '0' AND s.name IN ('statement_timeout', 'lock_timeout',
                    'idle_in_transaction_session_timeout')))
    )
$$;
