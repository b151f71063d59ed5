-- The history: who used what for how long, and what became of each instance.
--
-- Assigning pays nothing for it. A current session's times are columns of its slot, and its one row of
-- history is written in the transaction that ends it. The same holds for instances: their row is written
-- when theirs is deleted. Triggers write, so that no function, and nobody by hand, can forget it.
--
-- A row is one stay: one session on one slot. A session whose instance falls silent before its user
-- connects can move to another slot: then it has two rows, and the first ended because it MOVED.

ALTER TABLE regions
    ADD COLUMN history_days integer NOT NULL DEFAULT 90,
    ADD CONSTRAINT regions_history_days_1_to_3650 CHECK (history_days BETWEEN 1 AND 3650);
COMMENT ON COLUMN regions.history_days IS
    'sessions and instances that ended longer ago than this are deleted from the history';

-- When its user's session was reported as RUNNING. `claimed_at` is when they connected.
ALTER TABLE slots ADD COLUMN running_at timestamptz;

ALTER TABLE instances
    -- When it became TERMINATING, and why.
    ADD COLUMN terminating_at timestamptz,
    ADD COLUMN end_reason text;

CREATE TABLE session_history (
    user_id        text NOT NULL,
    session_id     text NOT NULL,
    region         text NOT NULL,
    instance_id    text NOT NULL,
    image_id       text NOT NULL,
    -- Null if its instance had no row any more.
    instance_type  text,
    slot_id        uuid NOT NULL,
    -- When its user asked for the first time, or was first refused.
    requested_at   timestamptz NOT NULL,
    assigned_at    timestamptz NOT NULL,
    -- Null if its user never connected, or it never ran.
    connected_at   timestamptz,
    running_at     timestamptz,
    ended_at       timestamptz NOT NULL,
    end_reason     text NOT NULL,
    -- Which limit, or how the instance was lost.
    end_detail     text,
    waited_seconds double precision NOT NULL,
    CONSTRAINT session_history_end_reason_known CHECK (end_reason IN ('AGENT', 'USER', 'OPERATOR',
        'LIMIT', 'LOST', 'INTERRUPTED', 'NEVER_CLAIMED', 'MOVED'))
-- Old rows are deleted at one end all the time: the dead ones must not pile up there.
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_insert_scale_factor = 0.01);
-- The order of the export. A session that ends between two pages keeps its place in it.
CREATE INDEX session_history_assigned ON session_history (assigned_at, slot_id);
-- Deleting old rows, and figures of a time.
CREATE INDEX session_history_ended ON session_history (region, ended_at);
-- An instance's own figures when it ends.
CREATE INDEX session_history_instance ON session_history (instance_id);
CREATE INDEX session_history_user ON session_history (user_id);

CREATE TABLE instance_history (
    instance_id      text NOT NULL,
    region           text NOT NULL,
    launch_id        text NOT NULL,
    image_id         text NOT NULL,
    client_sha       text NOT NULL,
    instance_type    text NOT NULL,
    subnet_id        text,
    spot             boolean,
    slots            integer NOT NULL,
    launched_at      timestamptz NOT NULL,
    -- Null if it never registered.
    registered_at    timestamptz,
    -- Null if it never drained.
    draining_at      timestamptz,
    drain_cause      text,
    -- What its agent said when it took the instance out of service.
    leave_reason     text,
    notice           text,
    terminating_at   timestamptz,
    gone_at          timestamptz NOT NULL,
    end_reason       text NOT NULL,
    -- Stays on its slots, and the sum of their seconds.
    sessions         integer NOT NULL,
    session_seconds  double precision NOT NULL,
    -- Seconds from its launch to its end with at least one session, and without any. Of its last
    -- `history_days` only, if it lived longer.
    occupied_seconds double precision NOT NULL,
    empty_seconds    double precision NOT NULL,
    CONSTRAINT instance_history_end_reason_known CHECK (end_reason IN ('DRAINED', 'NEVER_REGISTERED',
        'INTERRUPTED', 'MISSING', 'LOST', 'DEADLINE', 'ENDED', 'ORPHAN', 'DELETED'))
);
CREATE INDEX instance_history_gone ON instance_history (region, gone_at);
CREATE INDEX instance_history_instance ON instance_history (instance_id);

-- Sessions of now and before.
CREATE VIEW sessions AS
    SELECT h.user_id, h.session_id, h.region, h.instance_id, h.image_id, h.instance_type, h.slot_id,
        h.requested_at, h.assigned_at, h.connected_at, h.running_at, h.ended_at, h.end_reason,
        h.end_detail, h.waited_seconds
    FROM session_history h
    UNION ALL
    SELECT s.user_id, s.session_id, s.region, s.instance_id, s.image_id, i.instance_type, s.id,
        coalesce(s.first_allocated_at, s.allocated_at, s.updated_at)
            - make_interval(secs => s.waited_seconds),
        coalesce(s.first_allocated_at, s.allocated_at, s.updated_at),
        s.claimed_at, s.running_at, NULL, NULL, NULL, s.waited_seconds
    FROM slots s JOIN instances i ON i.id = s.instance_id
    WHERE s.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING');
COMMENT ON VIEW sessions IS
    'Sessions of now (ended_at is null) and, as far as they are kept, before.';

CREATE FUNCTION internal.slot_runs() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.running_at := internal.clock();
    RETURN NEW;
END
$$;
CREATE TRIGGER slots_run BEFORE UPDATE OF status ON slots
    FOR EACH ROW WHEN (OLD.status = 'CONNECTING' AND NEW.status = 'RUNNING')
    EXECUTE FUNCTION internal.slot_runs();

-- Why a session ends: `slot` is its slot as it was, `becomes` what the slot is now (null: deleted).
CREATE FUNCTION internal.why_session_ended(
    slot slots, becomes text, host instances, OUT reason text, OUT detail text)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    claim interval;
    -- Who ends before a limit, of which the agent warns, ends by themselves. A timer may be a little early.
    cause CONSTANT text := CASE
        WHEN host.end_reason = 'DEADLINE' THEN coalesce(slot.end_cause, 'DRAIN')
        WHEN slot.end_by IS NULL OR slot.end_by <= internal.clock() + interval '5 seconds'
            THEN slot.end_cause END;
BEGIN
    IF host.status = 'TERMINATING' AND host.end_reason IS DISTINCT FROM 'DEADLINE' THEN
        reason := CASE WHEN host.notice = 'INTERRUPTION' THEN 'INTERRUPTED' ELSE 'LOST' END;
        detail := CASE WHEN reason = 'LOST' THEN host.end_reason END;
        RETURN;
    END IF;
    IF cause IS NOT NULL THEN
        reason := CASE WHEN cause IN ('USER', 'OPERATOR') THEN cause ELSE 'LIMIT' END;
        detail := CASE WHEN reason = 'LIMIT' THEN cause END;
        RETURN;
    END IF;
    IF becomes = 'DYING' THEN
        -- EC2 takes the instance in two minutes: its agent ends the session because of that.
        reason := CASE WHEN host.notice = 'INTERRUPTION' THEN 'INTERRUPTED' ELSE 'AGENT' END;
        RETURN;
    END IF;
    SELECT make_interval(secs => r.claim_seconds) INTO claim FROM regions r WHERE r.name = slot.region;
    reason := CASE
        WHEN EXISTS (SELECT FROM slots s
                WHERE s.user_id = slot.user_id AND s.session_id = slot.session_id AND s.id <> slot.id
                    AND s.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING')) THEN 'MOVED'
        WHEN slot.status = 'ALLOCATED' AND slot.allocated_at + claim <= internal.clock()
            THEN 'NEVER_CLAIMED'
        -- Somebody took the slot away by hand.
        WHEN internal.is_alive(host.id) THEN 'OPERATOR'
        WHEN host.notice = 'INTERRUPTION' THEN 'INTERRUPTED'
        ELSE 'LOST' END;
END
$$;

CREATE FUNCTION internal.record_session(slot slots, becomes text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    at CONSTANT timestamptz := internal.clock();
    host instances;
    why record;
    assigned_at CONSTANT timestamptz :=
        coalesce(slot.first_allocated_at, slot.allocated_at, slot.updated_at);
BEGIN
    SELECT i.* INTO host FROM instances i WHERE i.id = slot.instance_id;
    why := internal.why_session_ended(slot, becomes, host);
    INSERT INTO session_history (user_id, session_id, region, instance_id, image_id, instance_type,
        slot_id, requested_at, assigned_at, connected_at, running_at, ended_at, end_reason, end_detail,
        waited_seconds)
    VALUES (slot.user_id, slot.session_id, slot.region, slot.instance_id, slot.image_id,
        host.instance_type, slot.id, assigned_at - make_interval(secs => slot.waited_seconds),
        assigned_at, slot.claimed_at, slot.running_at, greatest(at, assigned_at), why.reason,
        why.detail, slot.waited_seconds);
END
$$;

CREATE FUNCTION internal.session_is_over() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM internal.record_session(OLD, NULL);
    ELSE
        OLD.end_cause := coalesce(NEW.end_cause, OLD.end_cause);
        PERFORM internal.record_session(OLD, NEW.status);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER slots_sessions_end AFTER UPDATE OF status ON slots
    FOR EACH ROW WHEN (OLD.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING') AND NEW.status = 'DYING')
    EXECUTE FUNCTION internal.session_is_over();
CREATE TRIGGER slots_sessions_are_deleted AFTER DELETE ON slots
    FOR EACH ROW WHEN (OLD.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING'))
    EXECUTE FUNCTION internal.session_is_over();

-- An assign frees a session's slot before it looks for another one, and gives it back if there is none.
-- What became of the session is known only at the end of the transaction.
CREATE FUNCTION internal.session_left_slot() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM slots s
            WHERE s.id = OLD.id AND s.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING')
                AND s.user_id = OLD.user_id AND s.session_id = OLD.session_id
                AND s.first_allocated_at = OLD.first_allocated_at)
    THEN
        OLD.end_cause := coalesce(NEW.end_cause, OLD.end_cause);
        PERFORM internal.record_session(OLD, NEW.status);
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER slots_sessions_leave AFTER UPDATE OF status ON slots
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING') AND NEW.status = 'WAITING')
    EXECUTE FUNCTION internal.session_left_slot();

-- Why an instance ends, from what its row, its slots and its heartbeat say at that moment.
CREATE FUNCTION internal.instance_is_ending() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.terminating_at := internal.clock();
    NEW.end_reason := CASE
        WHEN NEW.notice = 'INTERRUPTION' THEN 'INTERRUPTED'
        WHEN NEW.active_at IS NULL THEN 'NEVER_REGISTERED'
        WHEN OLD.status = 'DRAINING' AND NOT EXISTS (SELECT FROM slots s
                WHERE s.instance_id = NEW.id AND s.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING'))
            THEN 'DRAINED'
        WHEN NEW.missing_since IS NOT NULL THEN 'MISSING'
        WHEN NOT EXISTS (SELECT FROM heartbeats h JOIN regions r ON r.name = NEW.region
                WHERE h.instance_id = NEW.id
                    AND h.beat_at >= internal.clock() - make_interval(secs => r.lost_seconds))
            THEN 'LOST'
        -- Its sessions had to end, and its agent did not end them.
        WHEN OLD.status = 'DRAINING' AND EXISTS (SELECT FROM slots s
                WHERE s.instance_id = NEW.id AND s.end_cause IN ('DRAIN', 'MAX_AGE')
                    AND s.end_by <= internal.clock()) THEN 'DEADLINE'
        ELSE 'ENDED' END;
    RETURN NEW;
END
$$;
CREATE TRIGGER instances_are_ending BEFORE UPDATE OF status ON instances
    FOR EACH ROW WHEN (NEW.status = 'TERMINATING' AND OLD.status <> 'TERMINATING')
    EXECUTE FUNCTION internal.instance_is_ending();

CREATE FUNCTION internal.instance_is_gone() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    at CONSTANT timestamptz := internal.clock();
    kept interval;
    since timestamptz;
    counted record;
BEGIN
    -- As long as the row can be read. No pass leaves a session here, but somebody by hand may.
    UPDATE slots s SET status = 'DYING', end_cause = 'OPERATOR', end_by = at
    WHERE s.instance_id = OLD.id AND s.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING');
    SELECT make_interval(days => r.history_days) INTO kept FROM regions r WHERE r.name = OLD.region;
    since := greatest(OLD.launched_at, at - kept);
    SELECT sum(g.sessions) AS sessions, coalesce(sum(g.seconds), 0) AS seconds,
        coalesce(sum(extract(epoch FROM g.until - g.since)), 0) AS occupied
    INTO counted
    FROM internal.stays(OLD.id, since, at) g;
    INSERT INTO instance_history (instance_id, region, launch_id, image_id, client_sha, instance_type,
        subnet_id, spot, slots, launched_at, registered_at, draining_at, drain_cause,
        leave_reason, notice, terminating_at, gone_at, end_reason, sessions, session_seconds,
        occupied_seconds, empty_seconds)
    VALUES (OLD.id, OLD.region, OLD.launch_id, OLD.image_id, OLD.client_sha, OLD.instance_type,
        OLD.subnet_id, OLD.spot, OLD.capacity, OLD.launched_at, OLD.active_at,
        OLD.draining_since, OLD.drain_cause, OLD.leave_reason, OLD.notice, OLD.terminating_at, at,
        CASE WHEN OLD.status <> 'TERMINATING' THEN 'DELETED' ELSE coalesce(OLD.end_reason, 'ORPHAN') END,
        coalesce(counted.sessions, 0), counted.seconds, counted.occupied,
        greatest(0, extract(epoch FROM at - since) - counted.occupied));
    RETURN OLD;
END
$$;

-- The times in which an instance had sessions, without overlaps, with the number of sessions that began
-- in each, and the sum of their seconds.
CREATE FUNCTION internal.stays(instance_id text, since timestamptz, until timestamptz)
RETURNS TABLE (since timestamptz, until timestamptz, sessions integer, seconds double precision)
LANGUAGE sql STABLE AS $$
    SELECT min(m.a), max(m.b), count(*)::integer, sum(extract(epoch FROM m.b - m.a))::double precision
    FROM (
        SELECT g.a, g.b, sum(g.begins) OVER (ORDER BY g.a, g.b) AS island
        FROM (
            SELECT s.a, s.b, CASE WHEN s.a <= max(s.b) OVER (
                    ORDER BY s.a, s.b ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
                THEN 0 ELSE 1 END AS begins
            FROM (
                SELECT greatest(h.assigned_at, stays.since) AS a, least(h.ended_at, stays.until) AS b
                FROM session_history h
                WHERE h.instance_id = stays.instance_id AND h.ended_at >= stays.since
                    AND h.assigned_at <= stays.until
            ) s
        ) g
    ) m
    GROUP BY m.island
$$;

CREATE TRIGGER instances_are_gone BEFORE DELETE ON instances
    FOR EACH ROW EXECUTE FUNCTION internal.instance_is_gone();

-- The export, one page: sessions that got their slot in a time, by that time.
CREATE FUNCTION list_sessions(from_at timestamptz, to_at timestamptz, after_at timestamptz,
    after_slot uuid, page_size integer)
RETURNS SETOF sessions
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
DECLARE
    since CONSTANT timestamptz := greatest(list_sessions.from_at, list_sessions.after_at);
    after CONSTANT uuid := CASE WHEN list_sessions.after_at >= list_sessions.from_at
        THEN list_sessions.after_slot END;
    most CONSTANT integer := least(greatest(list_sessions.page_size, 1), 10000);
BEGIN
    RETURN QUERY
    SELECT s.* FROM (
        (SELECT h.user_id, h.session_id, h.region, h.instance_id, h.image_id, h.instance_type,
            h.slot_id, h.requested_at, h.assigned_at, h.connected_at, h.running_at, h.ended_at,
            h.end_reason, h.end_detail, h.waited_seconds
        FROM session_history h
        WHERE h.assigned_at >= since AND h.assigned_at < list_sessions.to_at
            AND (after IS NULL OR (h.assigned_at, h.slot_id) > (since, after))
        ORDER BY h.assigned_at, h.slot_id LIMIT most)
        UNION ALL
        (SELECT c.* FROM sessions c
        WHERE c.ended_at IS NULL AND c.assigned_at >= since AND c.assigned_at < list_sessions.to_at
            AND (after IS NULL OR (c.assigned_at, c.slot_id) > (since, after))
        ORDER BY c.assigned_at, c.slot_id LIMIT most)
    ) s
    ORDER BY s.assigned_at, s.slot_id LIMIT most;
END
$$;
COMMENT ON FUNCTION list_sessions IS
    'One page of the sessions that got their slot from one time until before another, by that time and '
    'the slot: current ones, and those in the history. After the last row of the page before.';

-- What happened in a region within an hour. Of an hour that is over, the first pass after it writes this row:
-- from then on, nothing changes what was used in it. So figures of a week cost 168 rows, however many
-- sessions there were.
CREATE TABLE usage_hours (
    region           text NOT NULL,
    hour             timestamptz NOT NULL,
    -- Sessions that got their slot, and those of them that had waited in line.
    sessions         integer NOT NULL,
    waited           integer NOT NULL,
    -- [{"below": seconds, "sessions": number}]: how long they waited. The last has null: longer.
    waits            jsonb NOT NULL,
    -- {"reason": number}: sessions that ended.
    ends             jsonb NOT NULL,
    -- How long those whose user had connected lasted, like `waits`.
    lengths          jsonb NOT NULL,
    -- Instances that were gone, and {"reason": number} for those of them that had no session although
    -- nobody had drained them.
    instances_gone   integer NOT NULL,
    died_young       jsonb NOT NULL,
    -- Of instances, from launch to end, within the hour: all, and those with a session.
    machine_seconds  double precision NOT NULL,
    occupied_seconds double precision NOT NULL,
    -- Of slots with a session, and of all slots of these instances.
    session_seconds  double precision NOT NULL,
    slot_seconds     double precision NOT NULL,
    PRIMARY KEY (region, hour)
);

-- Counts of buckets, the lowest first, with the bound below which their values are.
CREATE FUNCTION internal.histogram(counts jsonb, bounds double precision[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_agg(jsonb_build_object('below', histogram.bounds[n + 1],
        'sessions', coalesce((histogram.counts -> n::text)::bigint, 0)) ORDER BY n)
    FROM generate_series(0, cardinality(histogram.bounds)) AS n
$$;

-- A region's sessions of which some part is in a time. It reads those that ended later, too.
CREATE FUNCTION internal.sessions_within(region text, from_at timestamptz, to_at timestamptz)
RETURNS TABLE (instance_id text, assigned_at timestamptz, ended_at timestamptz, connected boolean,
    end_reason text, waited_seconds double precision)
LANGUAGE sql STABLE AS $$
    SELECT h.instance_id, h.assigned_at, h.ended_at, h.connected_at IS NOT NULL, h.end_reason,
        h.waited_seconds
    FROM session_history h
    WHERE h.region = sessions_within.region AND h.ended_at >= sessions_within.from_at
        AND h.assigned_at < sessions_within.to_at
    UNION ALL
    SELECT c.instance_id, c.assigned_at, 'infinity', c.connected_at IS NOT NULL, NULL,
        c.waited_seconds
    FROM sessions c
    WHERE c.ended_at IS NULL AND c.region = sessions_within.region
        AND c.assigned_at < sessions_within.to_at
$$;

-- The figures of an hour, or of its part until now.
CREATE FUNCTION internal.usage_of(region text, hour timestamptz, at timestamptz) RETURNS usage_hours
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
DECLARE
    wait_bounds CONSTANT double precision[] := '{1, 2, 5, 10, 30, 60, 120, 300, 600}';
    length_bounds CONSTANT double precision[] :=
        '{10, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400}';
    since CONSTANT timestamptz := usage_of.hour;
    until CONSTANT timestamptz := least(usage_of.hour + interval '1 hour', usage_of.at);
    figures usage_hours;
BEGIN
    WITH within AS MATERIALIZED (
        SELECT * FROM internal.sessions_within(usage_of.region, since, until)
    ), waits AS (
        SELECT width_bucket(w.waited_seconds, wait_bounds) AS bucket, count(*) AS sessions,
            count(*) FILTER (WHERE w.waited_seconds > 0) AS waited
        FROM within w WHERE w.assigned_at >= since GROUP BY 1
    ), ends AS (
        SELECT w.end_reason, w.connected,
            width_bucket(date_part('epoch', w.ended_at - w.assigned_at), length_bounds) AS bucket,
            count(*) AS sessions
        FROM within w WHERE w.ended_at < until GROUP BY 1, 2, 3
    ), stays AS (
        SELECT sum(date_part('epoch', s.b - s.a)) AS seconds,
            -- What no earlier session of the instance covers.
            sum(greatest(0, date_part('epoch', s.b - greatest(s.a, s.covered)))) AS occupied
        FROM (
            SELECT t.a, t.b, max(t.b) OVER (PARTITION BY t.instance_id
                ORDER BY t.a, t.b ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered
            FROM (
                SELECT w.instance_id, greatest(w.assigned_at, since) AS a, least(w.ended_at, until) AS b
                FROM within w
            ) t
        ) s
    )
    SELECT coalesce((SELECT sum(w.sessions) FROM waits w), 0),
        coalesce((SELECT sum(w.waited) FROM waits w), 0),
        internal.histogram((SELECT jsonb_object_agg(w.bucket, w.sessions) FROM waits w), wait_bounds),
        coalesce((SELECT jsonb_object_agg(e.end_reason, e.sessions) FROM (
            SELECT f.end_reason, sum(f.sessions) AS sessions FROM ends f GROUP BY 1) e), '{}'),
        internal.histogram((SELECT jsonb_object_agg(e.bucket, e.sessions) FROM (
            SELECT f.bucket, sum(f.sessions) AS sessions FROM ends f WHERE f.connected GROUP BY 1) e),
            length_bounds),
        coalesce(s.seconds, 0), coalesce(s.occupied, 0)
    INTO figures.sessions, figures.waited, figures.waits, figures.ends, figures.lengths,
        figures.session_seconds, figures.occupied_seconds
    FROM stays s;
    SELECT coalesce(sum(l.seconds), 0), coalesce(sum(l.seconds * l.slots), 0)
    INTO figures.machine_seconds, figures.slot_seconds
    FROM (
        SELECT greatest(0, date_part('epoch', least(l.gone_at, until) - greatest(l.launched_at, since)))
            AS seconds, l.slots
        FROM (
            SELECT h.launched_at, h.gone_at, h.slots FROM instance_history h
            WHERE h.region = usage_of.region AND h.gone_at >= since
            UNION ALL
            SELECT i.launched_at, 'infinity', i.capacity FROM instances i
            WHERE i.region = usage_of.region
        ) l
    ) l;
    SELECT coalesce(sum(d.gone), 0),
        coalesce(jsonb_object_agg(d.end_reason, d.young) FILTER (WHERE d.young > 0), '{}')
    INTO figures.instances_gone, figures.died_young
    FROM (
        SELECT h.end_reason, count(*) AS gone, count(*) FILTER (
            WHERE h.sessions = 0 AND h.draining_at IS NULL AND h.end_reason <> 'ORPHAN') AS young
        FROM instance_history h
        WHERE h.region = usage_of.region AND h.gone_at >= since AND h.gone_at < until
        GROUP BY 1
    ) d;
    figures.region := usage_of.region;
    figures.hour := since;
    RETURN figures;
END
$$;

-- Hours of the last two days that are over, and have no row yet. A minute later, so that what ended in
-- the hour has been committed.
CREATE FUNCTION internal.uncounted_hours(region text, at timestamptz) RETURNS SETOF timestamptz
LANGUAGE sql STABLE AS $$
    SELECT h.hour FROM generate_series(
        date_bin('1 hour', uncounted_hours.at - interval '2 days', 'epoch'),
        uncounted_hours.at - interval '1 hour 1 minute', interval '1 hour') AS h (hour)
    WHERE h.hour >= (SELECT date_bin('1 hour', r.created_at, 'epoch') FROM regions r
            WHERE r.name = uncounted_hours.region)
        AND NOT EXISTS (SELECT FROM usage_hours u
            WHERE u.region = uncounted_hours.region AND u.hour = h.hour)
$$;

-- At most two hours a pass, after passes have not run.
CREATE FUNCTION internal.count_hours(region text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_hours
    SELECT u.* FROM (
        SELECT h FROM internal.uncounted_hours(count_hours.region, internal.clock()) h
        ORDER BY h DESC LIMIT 2
    ) h
    CROSS JOIN LATERAL internal.usage_of(count_hours.region, h.h, internal.clock()) u
    ON CONFLICT DO NOTHING;
END
$$;

CREATE FUNCTION list_usage(region text, from_at timestamptz, to_at timestamptz)
RETURNS SETOF usage_hours
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    at CONSTANT timestamptz := internal.clock();
    first CONSTANT timestamptz := date_bin('1 hour', list_usage.from_at, 'epoch');
BEGIN
    IF list_usage.to_at > list_usage.from_at + interval '32 days' THEN
        RAISE EXCEPTION 'list_usage: the time must not be longer than 32 days'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY
    SELECT u.* FROM usage_hours u
    WHERE (list_usage.region IS NULL OR u.region = list_usage.region)
        AND u.hour >= first AND u.hour < list_usage.to_at
    UNION ALL
    -- The current one, and the last one if no pass has counted it yet.
    SELECT u.* FROM regions r
    CROSS JOIN generate_series(date_bin('1 hour', at - interval '1 hour', 'epoch'), at,
        interval '1 hour') AS h (hour)
    CROSS JOIN LATERAL internal.usage_of(r.name, h.hour, at) u
    WHERE (list_usage.region IS NULL OR r.name = list_usage.region)
        AND h.hour >= first AND h.hour < list_usage.to_at
        AND NOT EXISTS (SELECT FROM usage_hours c WHERE c.region = r.name AND c.hour = h.hour)
    ORDER BY 1, 2;
END
$$;
COMMENT ON FUNCTION list_usage IS
    'Figures of a region (null: of each) for each hour from one time until another: waits, ends and '
    'lengths of sessions, instances that died young, and machine time, used and empty. The current '
    'hour until now.';

-- One batch of a region's rows that are too old. A pass calls it with what it deletes anyway.
CREATE FUNCTION internal.prune_history(region text, most integer) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    kept_since timestamptz;
BEGIN
    SELECT now() - make_interval(days => r.history_days) INTO kept_since
    FROM regions r WHERE r.name = prune_history.region;
    DELETE FROM session_history h WHERE h.ctid = ANY (ARRAY(
        SELECT o.ctid FROM session_history o
        WHERE o.region = prune_history.region AND o.ended_at < kept_since
        ORDER BY o.ended_at LIMIT prune_history.most FOR UPDATE SKIP LOCKED));
    DELETE FROM instance_history h WHERE h.ctid = ANY (ARRAY(
        SELECT o.ctid FROM instance_history o
        WHERE o.region = prune_history.region AND o.gone_at < kept_since
        ORDER BY o.gone_at LIMIT prune_history.most FOR UPDATE SKIP LOCKED));
    DELETE FROM usage_hours u WHERE u.region = prune_history.region AND u.hour < kept_since;
END
$$;

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
    SELECT internal.count_hours(prune.region);
    SELECT internal.prune_history(prune.region, 5000);
$$;

-- A user whose id is being replaced: as long as rows are left.
CREATE TABLE internal.users_to_forget (
    user_id text PRIMARY KEY,
    alias   text NOT NULL
);

CREATE TABLE forget_results (
    outcome  text NOT NULL,
    -- Rows of history that have a random id now.
    sessions integer NOT NULL,
    -- Slots that still have the user's id.
    current  integer NOT NULL,
    CONSTRAINT forget_results_only_a_shape CHECK (false)
);

CREATE FUNCTION forget_user(user_id text) RETURNS SETOF forget_results
LANGUAGE plpgsql AS $$
DECLARE
    batch CONSTANT integer := 20000;
    alias text;
    answer forget_results;
BEGIN
    IF coalesce(forget_user.user_id, '') = '' THEN
        RAISE EXCEPTION 'forget_user: user_id must not be empty'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- As assigning does for the same user: two calls at once would use two ids.
    PERFORM pg_advisory_xact_lock(hashtextextended(forget_user.user_id, 0));
    SELECT coalesce((SELECT u.alias FROM internal.users_to_forget u
        WHERE u.user_id = forget_user.user_id), 'forgotten-' || gen_random_uuid()) INTO alias;
    UPDATE session_history h SET user_id = alias
    WHERE h.ctid = ANY (ARRAY(
        SELECT o.ctid FROM session_history o WHERE o.user_id = forget_user.user_id
        LIMIT batch FOR UPDATE));
    GET DIAGNOSTICS answer.sessions = ROW_COUNT;
    IF EXISTS (SELECT FROM session_history o WHERE o.user_id = forget_user.user_id) THEN
        answer.outcome := 'MORE';
        INSERT INTO internal.users_to_forget VALUES (forget_user.user_id, alias) ON CONFLICT DO NOTHING;
    ELSE
        answer.outcome := 'DONE';
        DELETE FROM internal.users_to_forget u WHERE u.user_id = forget_user.user_id;
    END IF;
    DELETE FROM internal.failed_sessions f WHERE f.user_id = forget_user.user_id;
    DELETE FROM waiting_users w WHERE w.user_id = forget_user.user_id;
    UPDATE internal.session_ends e
    SET quick_users = array_replace(e.quick_users, forget_user.user_id, alias)
    WHERE forget_user.user_id = ANY (e.quick_users);
    SELECT count(*) INTO answer.current FROM slots s WHERE s.user_id = forget_user.user_id;
    RETURN NEXT answer;
END
$$;
COMMENT ON FUNCTION forget_user IS
    'Replaces a user''s id in the history by a random one, the same in all rows, and takes the user out '
    'of lines. DONE, or MORE: call it again. `current` slots still have the id: end these sessions, '
    'and call it again.';
