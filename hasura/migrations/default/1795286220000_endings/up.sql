-- Ending sessions: by their users, by operators, and by limits.
--
-- Nobody but its agent ends a session that a user has claimed. Here it is only written down why it is to
-- end and by when (`end_cause`, `end_by`): the agent reads it, tells the user, and ends the session in
-- time. The slot becomes free when the agent reports that, or when its instance is gone.
--
-- The one exception is a drain whose deadline is over: its instance is terminated with the sessions that
-- its agent has not ended.

ALTER TABLE regions
    ADD COLUMN max_session_seconds integer,
    ADD COLUMN max_idle_seconds integer,
    ADD COLUMN end_warning_seconds integer NOT NULL DEFAULT 60,
    ADD COLUMN drain_deadline_seconds integer,
    ADD COLUMN max_age_seconds integer,
    ADD CONSTRAINT regions_max_session_seconds_positive CHECK (max_session_seconds > 0),
    ADD CONSTRAINT regions_max_idle_seconds_positive CHECK (max_idle_seconds > 0),
    ADD CONSTRAINT regions_end_warning_seconds_positive CHECK (end_warning_seconds > 0),
    ADD CONSTRAINT regions_drain_deadline_seconds_positive CHECK (drain_deadline_seconds > 0),
    -- Otherwise an instance would be replaced before it has served.
    ADD CONSTRAINT regions_max_age_after_boot CHECK (max_age_seconds > boot_seconds);
COMMENT ON COLUMN regions.max_session_seconds IS
    'the longest time from a user''s connection to the end of the session; null means no limit';
COMMENT ON COLUMN regions.max_idle_seconds IS
    'the longest time without activity of a session''s user, if the agent reports activity; null means '
    'no limit';
COMMENT ON COLUMN regions.end_warning_seconds IS
    'how long before a limit the agent is told of it at the latest';
COMMENT ON COLUMN regions.drain_deadline_seconds IS
    'the longest time of a drain by an operator, for a retired image or for age, until its sessions end; '
    'null means no limit';
COMMENT ON COLUMN regions.max_age_seconds IS
    'instances are replaced at this age; null means never';

ALTER TABLE instances
    DROP CONSTRAINT instances_drain_cause_known,
    ADD CONSTRAINT instances_drain_cause_known CHECK (drain_cause IN ('SURPLUS', 'MAXIMUM', 'ROOM',
        'IMAGE', 'MAX_AGE', 'TOKEN', 'NOTICE', 'AGENT', 'SUSPECT',
        'OPERATOR', 'REVOKED'));

ALTER TABLE slots
    -- Why the session is to end before its user ends it.
    ADD COLUMN end_cause text,
    -- The agent ends the session by then. Null as long as nobody wants its end.
    ADD COLUMN end_by timestamptz,
    -- Limits of the request. They apply where they are lower than those of the region.
    ADD COLUMN max_session_seconds integer,
    ADD COLUMN max_idle_seconds integer,
    -- The last activity of the user that the agent has reported. Null: it reports none.
    ADD COLUMN user_active_at timestamptz,
    ADD CONSTRAINT slots_end_cause_known
        CHECK (end_cause IN ('USER', 'OPERATOR', 'LONGEST', 'IDLE', 'DRAIN', 'MAX_AGE')),
    ADD CONSTRAINT slots_end_has_cause_and_time CHECK ((end_cause IS NULL) = (end_by IS NULL)),
    ADD CONSTRAINT slots_max_session_seconds_positive CHECK (max_session_seconds > 0),
    ADD CONSTRAINT slots_max_idle_seconds_positive CHECK (max_idle_seconds > 0);

-- The next user of the slot has limits of their own.
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
    NEW.end_cause := NULL;
    NEW.end_by := NULL;
    NEW.max_session_seconds := NULL;
    NEW.max_idle_seconds := NULL;
    RETURN NEW;
END
$$;

-- When a session is to end by each of the limits; null without one. The planner expands these functions.
CREATE FUNCTION internal.longest_end(s slots, r regions) RETURNS timestamptz
LANGUAGE sql STABLE AS $$
    SELECT s.claimed_at
        + make_interval(secs => least(s.max_session_seconds, r.max_session_seconds))
$$;
CREATE FUNCTION internal.idle_end(s slots, r regions) RETURNS timestamptz
LANGUAGE sql STABLE AS $$
    SELECT s.user_active_at + make_interval(secs => least(s.max_idle_seconds, r.max_idle_seconds))
$$;
CREATE FUNCTION internal.drain_end(i instances, r regions) RETURNS timestamptz
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN i.status = 'DRAINING' AND i.drain_cause IN ('OPERATOR', 'IMAGE', 'MAX_AGE')
        THEN i.draining_since + make_interval(secs => r.drain_deadline_seconds) END
$$;

-- Whether the agent is to be told now that the session ends, or ends earlier than it was told. Passes
-- run once a minute: it is told in the last one that leaves the whole warning.
CREATE FUNCTION internal.is_end_due(s slots, i instances, r regions) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT s.status IN ('CONNECTING', 'RUNNING')
        AND least(internal.longest_end(s, r), internal.idle_end(s, r), internal.drain_end(i, r))
            <= now() + make_interval(secs => r.end_warning_seconds + 60)
        AND (s.end_by IS NULL OR s.end_by > greatest(
            least(internal.longest_end(s, r), internal.idle_end(s, r), internal.drain_end(i, r)),
            now() + make_interval(secs => r.end_warning_seconds)))
$$;

-- Whether the agent should have ended the session. Its heartbeats may be as old as this.
CREATE FUNCTION internal.is_overdue(s slots, r regions) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT s.status IN ('CONNECTING', 'RUNNING')
        AND coalesce(s.end_by + make_interval(secs => r.heartbeat_seconds) <= now(), false)
$$;

-- Whether the instance's drain is over, and each of its users has had the whole warning.
CREATE FUNCTION internal.is_past_deadline(i instances, r regions) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT coalesce(
            internal.drain_end(i, r) + make_interval(secs => r.heartbeat_seconds) <= now(), false)
        AND NOT EXISTS (SELECT FROM slots s
            WHERE s.instance_id = i.id AND s.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING')
                AND NOT internal.is_overdue(s, r))
$$;

ALTER TABLE instance_views
    -- Sessions whose agent is to be told that they end.
    ADD COLUMN ends_due integer NOT NULL,
    -- Sessions that their agent should have ended.
    ADD COLUMN ends_overdue integer NOT NULL,
    -- Of the occupied slots: those whose session has ended.
    ADD COLUMN slots_dying integer NOT NULL;

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
        s.lives OR coalesce(e.lived_at > now() - interval '1 hour', false),
        s.due, s.overdue, s.dying
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
            count(*) FILTER (WHERE internal.is_end_due(s, i, r))::integer AS due,
            count(*) FILTER (WHERE internal.is_overdue(s, r))::integer AS overdue,
            count(*) FILTER (WHERE s.status = 'DYING')::integer AS dying,
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

-- An agent can hold its slots. They are not waited for. What a pass writes at once is bounded: with a new
-- setting, all sessions of a region may be due.
CREATE FUNCTION mark_ends(region text, version bigint) RETURNS SETOF write_results
LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$
DECLARE
    most CONSTANT integer := 5000;
    due uuid[];
    locked uuid[];
BEGIN
    IF internal.fenced(mark_ends.region, mark_ends.version) THEN
        RETURN QUERY SELECT mark_ends.region, 'FENCED';
        RETURN;
    END IF;
    due := ARRAY(
        SELECT s.id
        FROM regions r
        JOIN instances i ON i.region = r.name
        JOIN slots s ON s.instance_id = i.id
        WHERE r.name = mark_ends.region AND internal.is_end_due(s, i, r)
        ORDER BY s.id LIMIT most);
    locked := ARRAY(
        SELECT s.id FROM slots s WHERE s.id = ANY (due) ORDER BY s.id FOR UPDATE SKIP LOCKED);
    -- The user may have become active, or the session have ended, before the lock.
    UPDATE slots s SET end_by = e.end_by, end_cause = e.end_cause
    FROM (
        SELECT l.id,
            greatest(least(c.longest, c.idle, c.drain),
                now() + make_interval(secs => r.end_warning_seconds)) AS end_by,
            CASE least(c.longest, c.idle, c.drain)
                WHEN c.drain THEN CASE i.drain_cause WHEN 'MAX_AGE' THEN 'MAX_AGE' ELSE 'DRAIN' END
                WHEN c.longest THEN 'LONGEST'
                ELSE 'IDLE'
            END AS end_cause
        FROM slots l
        JOIN instances i ON i.id = l.instance_id
        JOIN regions r ON r.name = i.region
        CROSS JOIN LATERAL (
            SELECT internal.longest_end(l, r) AS longest, internal.idle_end(l, r) AS idle,
                internal.drain_end(i, r) AS drain
        ) c
        WHERE l.id = ANY (locked) AND internal.is_end_due(l, i, r)
    ) e
    WHERE s.id = e.id;
    RETURN QUERY
    SELECT s.instance_id, CASE WHEN bool_and(s.id = ANY (locked)) THEN 'DONE' ELSE 'BUSY' END
    FROM slots s WHERE s.id = ANY (due) GROUP BY s.instance_id ORDER BY s.instance_id;
EXCEPTION WHEN lock_not_available THEN
    RETURN QUERY SELECT * FROM internal.all_busy(ARRAY[mark_ends.region]);
END
$$;
COMMENT ON FUNCTION mark_ends IS
    'Writes to sessions whose limit comes why and by when they are to end. One row per instance, DONE or '
    'BUSY (for some of its sessions); or one row for the region, FENCED or BUSY.';

-- Drains that leave users where they are: those of a suspect, of an old instance, and of one that EC2 is
-- about to take. Those on a retired image too, where the drain's deadline ends their sessions.
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
        LEFT JOIN regions r ON r.name = i.region
        -- Users on an instance that EC2 is about to take lose it anyway, and the others stay. Draining
        -- it keeps more users from being assigned to it.
        CROSS JOIN LATERAL (SELECT i.notice IS NOT NULL
            OR coalesce(drain_instances.cause IN ('SUSPECT', 'MAX_AGE')
                OR (drain_instances.cause = 'IMAGE' AND r.drain_deadline_seconds IS NOT NULL),
                false) AS may_stay) u
        ORDER BY g.id);
    UPDATE instances i SET status = 'DRAINING', draining_since = internal.clock(),
        drain_cause = drain_instances.cause
    FROM unnest(results) r WHERE i.id = r.id AND r.outcome = 'DONE';
    RETURN QUERY SELECT * FROM unnest(results);
EXCEPTION WHEN lock_not_available THEN
    RETURN QUERY SELECT * FROM internal.all_busy(given);
END
$$;

-- As before, and for a drain whose deadline is over.
CREATE OR REPLACE FUNCTION terminate_instances(
    region text, version bigint, ids jsonb, reason text)
RETURNS SETOF write_results
LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$
DECLARE
    given CONSTANT text[] := internal.ids_of(terminate_instances.ids);
    locked text[];
    results write_results[];
BEGIN
    IF coalesce(terminate_instances.reason, '')
        NOT IN ('EMPTY', 'DEADLINE', 'LOST', 'MISSING', 'GONE')
    THEN
        RAISE EXCEPTION 'terminate_instances: reason must be EMPTY, DEADLINE, LOST, MISSING or GONE, '
            'not %', coalesce(terminate_instances.reason, 'null')
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
                WHEN terminate_instances.reason = 'DEADLINE' AND NOT internal.is_past_deadline(i, r)
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
    'Sets instances to TERMINATING because they are EMPTY, past the DEADLINE of their drain, LOST (no '
    'heartbeat), MISSING from listings, or GONE from EC2. DONE, ALREADY, OCCUPIED, ALIVE, WRONG_STATE, '
    'UNKNOWN, BUSY, or FENCED.';

-- Ends a session for its user or for an operator: a claimed slot by its agent, another one at once. Takes
-- the session out of the line, too.
CREATE FUNCTION internal.end_session(user_id text, session_id text, cause text) RETURNS text
LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
DECLARE
    held slots;
    was_in_line boolean;
BEGIN
    -- As assigning does: a request under way for the same session is answered first.
    PERFORM pg_advisory_xact_lock(hashtextextended(end_session.user_id, 0));
    DELETE FROM waiting_users w
    WHERE w.user_id = end_session.user_id AND w.session_id = end_session.session_id;
    was_in_line := FOUND;
    SELECT s.* INTO held FROM slots s
    WHERE s.user_id = end_session.user_id AND s.session_id = end_session.session_id
        AND s.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING')
    FOR UPDATE;
    IF held.id IS NULL THEN
        RETURN CASE WHEN was_in_line THEN 'ENDED' ELSE 'UNKNOWN' END;
    END IF;
    -- A session that is to end already keeps its first cause.
    UPDATE slots s SET end_cause = end_session.cause, end_by = internal.clock()
    WHERE s.id = held.id AND (s.end_by IS NULL OR s.end_by > internal.clock());
    IF held.status <> 'ALLOCATED' THEN
        RETURN 'ENDING';
    END IF;
    UPDATE slots s
    SET status = 'WAITING', user_id = NULL, session_id = NULL, allocated_at = NULL
    WHERE s.id = held.id;
    RETURN 'ENDED';
END
$$;
CREATE FUNCTION end_own_session(user_id text, session_id text) RETURNS SETOF write_results
LANGUAGE sql VOLATILE AS $$
    SELECT end_own_session.session_id,
        internal.end_session(end_own_session.user_id, end_own_session.session_id, 'USER')
$$;
COMMENT ON FUNCTION end_own_session IS
    'Ends a session for its user. ENDED, ENDING (its agent is told with the next heartbeat), or UNKNOWN.';
CREATE FUNCTION end_session(user_id text, session_id text) RETURNS SETOF write_results
LANGUAGE sql VOLATILE AS $$
    SELECT end_session.session_id,
        internal.end_session(end_session.user_id, end_session.session_id, 'OPERATOR')
$$;
COMMENT ON FUNCTION end_session IS
    'Ends a session of any user, for an operator. ENDED, ENDING (its agent is told with the next '
    'heartbeat), or UNKNOWN.';

-- A session that was soon ended on purpose says nothing about its instance.
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
        PERFORM internal.session_ended(host, slot.user_id, slot.claimed_at)
        FROM regions r
        WHERE r.name = host.region AND (slot.end_by IS NULL
            OR slot.claimed_at + make_interval(secs => r.quick_end_seconds) <= internal.clock());
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

-- The time that is left, because the clocks of agents differ. Null if the session need not end.
CREATE FUNCTION internal.seconds_left(s slots) RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN s.end_by IS NOT NULL
        THEN greatest(0, ceil(extract(epoch FROM s.end_by - now())))::integer END
$$;

-- What an agent says of the activity of its users. Written only where there is a limit, and not more
-- often than every ten seconds for a user. A user who is active again need not end.
CREATE FUNCTION internal.note_activity(host instances, idle_seconds jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF jsonb_typeof(note_activity.idle_seconds) <> 'object' OR EXISTS (
        SELECT FROM jsonb_each(note_activity.idle_seconds) g
        WHERE jsonb_typeof(g.value) <> 'number' OR (g.value)::numeric NOT BETWEEN 0 AND 31536000)
    THEN
        RAISE EXCEPTION 'heartbeat: idle_seconds must be an object of slot ids with seconds, from 0 to '
            '31536000' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    UPDATE slots s SET user_active_at = a.active_at,
        end_by = CASE WHEN s.end_cause <> 'IDLE' THEN s.end_by END,
        end_cause = nullif(s.end_cause, 'IDLE')
    FROM (
        SELECT l.id, greatest(l.claimed_at, l.user_active_at, internal.clock()
            - make_interval(secs => (note_activity.idle_seconds ->> l.id::text)::double precision))
            AS active_at
        FROM slots l
        JOIN regions r ON r.name = l.region
        WHERE l.instance_id = note_activity.host.id AND l.status IN ('CONNECTING', 'RUNNING')
            AND note_activity.idle_seconds ? l.id::text
            AND least(l.max_idle_seconds, r.max_idle_seconds) IS NOT NULL
    ) a
    WHERE s.id = a.id
        AND (s.user_active_at IS NULL OR s.user_active_at + interval '10 seconds' < a.active_at);
END
$$;

-- The answer to a heartbeat: as that of the other functions of agents, and what the agent has to end.
CREATE TABLE heartbeat_answers (
    instance_id text,
    outcome     text NOT NULL,
    status      text,
    token       text,
    -- [{"slot_id", "session_id", "end_cause", "end_by", "seconds_left"}], by slot.
    ends        jsonb NOT NULL,
    CONSTRAINT heartbeat_answers_only_a_shape CHECK (false)
);
DROP FUNCTION heartbeat(text, json);
CREATE FUNCTION heartbeat(
    instance_id text, hasura_session json, idle_seconds jsonb DEFAULT NULL)
RETURNS SETOF heartbeat_answers
LANGUAGE plpgsql AS $$
DECLARE
    host instances;
BEGIN
    PERFORM internal.check_size('heartbeat', 'instance_id', heartbeat.instance_id, 64);
    -- Locks the instance. Either a pass that terminates it as lost sees this heartbeat,
    -- or this heartbeat sees TERMINATING and is answered with SHUT_DOWN.
    SELECT i.* INTO host FROM instances i
    WHERE i.id = heartbeat.instance_id AND internal.is_own(i, heartbeat.hasura_session)
    FOR SHARE;
    IF NOT FOUND OR host.status = 'TERMINATING' THEN
        RETURN QUERY SELECT heartbeat.instance_id, 'SHUT_DOWN', host.status, NULL::text, '[]'::jsonb;
        RETURN;
    END IF;
    PERFORM internal.beat(host.id);
    IF heartbeat.idle_seconds IS NOT NULL THEN
        PERFORM internal.note_activity(host, heartbeat.idle_seconds);
    END IF;
    RETURN QUERY SELECT host.id, 'OK', host.status,
        internal.next_token(host.id, heartbeat.hasura_session),
        (SELECT coalesce(jsonb_agg(jsonb_build_object('slot_id', s.id, 'session_id', s.session_id,
                'end_cause', s.end_cause, 'end_by', s.end_by,
                'seconds_left', internal.seconds_left(s)) ORDER BY s.id), '[]')
         FROM slots s WHERE s.instance_id = host.id AND s.end_by IS NOT NULL
            AND s.status IN ('CONNECTING', 'RUNNING'));
END
$$;
COMMENT ON FUNCTION heartbeat IS
    'Records a heartbeat of the agent''s instance, and for how long users have been idle ({slot id: '
    'seconds}). OK with the instance''s status, the agent''s next token if there is one, and the sessions '
    'that the agent has to end; or SHUT_DOWN.';

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
            'user_id', s.user_id, 'session_id', s.session_id,
            'end_cause', s.end_cause, 'end_by', s.end_by,
            'seconds_left', internal.seconds_left(s)) ORDER BY s.id), '[]')
    FROM slots s WHERE s.instance_id = host.id;
END
$$;

-- Assigning, with what is new around it: the limits of a request, and what a user holds who is refused for
-- that.
ALTER TABLE assign_results
    -- [{"session_id", "region"}], if the user holds too many slots.
    ADD COLUMN held jsonb;

CREATE FUNCTION internal.held_sessions(user_id text) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('session_id', s.session_id, 'region', s.region)
        ORDER BY s.first_allocated_at, s.id), '[]')
    FROM slots s
    WHERE s.user_id = held_sessions.user_id AND s.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING')
$$;

-- A repeated request may change them until its user connects.
CREATE FUNCTION internal.limit_session(
    slot_id uuid, max_session_seconds integer, max_idle_seconds integer)
RETURNS void
LANGUAGE sql AS $$
    UPDATE slots s SET max_session_seconds = limit_session.max_session_seconds,
        max_idle_seconds = limit_session.max_idle_seconds
    WHERE s.id = limit_session.slot_id AND s.status = 'ALLOCATED'
        AND (s.max_session_seconds, s.max_idle_seconds) IS DISTINCT FROM
            (limit_session.max_session_seconds, limit_session.max_idle_seconds)
$$;

ALTER FUNCTION assign_slot(text, text, jsonb, text, integer, text, boolean) SET SCHEMA internal;
CREATE FUNCTION assign_slot(
    user_id text, session_id text, regions jsonb, client_sha text, user_limit integer,
    environment text, local_dev boolean,
    max_session_seconds integer DEFAULT NULL, max_idle_seconds integer DEFAULT NULL)
RETURNS SETOF assign_results
LANGUAGE plpgsql AS $$
DECLARE
    answer assign_results;
BEGIN
    SELECT a.* INTO answer FROM internal.assign_slot(assign_slot.user_id, assign_slot.session_id,
        assign_slot.regions, assign_slot.client_sha, assign_slot.user_limit, assign_slot.environment,
        assign_slot.local_dev) a;
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
COMMENT ON FUNCTION assign_slot IS
    'Assigns a slot to a user, in the first of the regions with a free one, with limits that apply where '
    'they are lower than the region''s. ASSIGNED, ALREADY_ASSIGNED, USER_ALREADY_ACTIVE (with what the '
    'user holds), REGION_NOT_ENABLED, NO_IMAGE_SERVED, COMMIT_HASH_MISMATCH, or NO_INSTANCE_AVAILABLE.';
