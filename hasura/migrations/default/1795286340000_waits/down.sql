CREATE OR REPLACE FUNCTION forget_user(user_id text) RETURNS SETOF forget_results
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
CREATE OR REPLACE FUNCTION internal.prune_history(region text, most integer) RETURNS void
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
DROP FUNCTION list_usage(text, timestamptz, timestamptz, integer);
CREATE OR REPLACE FUNCTION internal.usage_of(region text, hour timestamptz, at timestamptz) RETURNS usage_hours
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
DROP FUNCTION internal.usage_within(text, timestamptz, timestamptz);
DROP TRIGGER waiting_users_come_back ON waiting_users;
DROP TRIGGER waiting_users_leave ON waiting_users;
DROP FUNCTION internal.users_left_line();
DROP FUNCTION internal.is_own_visit(waiting_users, interval);
DROP TABLE internal.unserved_users;
ALTER TABLE usage_hours DROP COLUMN unserved;
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
