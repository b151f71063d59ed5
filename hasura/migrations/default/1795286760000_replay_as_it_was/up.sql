-- How often scheduled passes come is a setting: the algorithm `adaptive` counts its users in steps of it, and
-- a replay passes as often. With one a minute, nothing changes.

ALTER TABLE regions
    ADD COLUMN pass_seconds integer NOT NULL DEFAULT 60,
    ADD CONSTRAINT regions_pass_seconds_1_to_600 CHECK (pass_seconds BETWEEN 1 AND 600);
COMMENT ON COLUMN regions.pass_seconds IS 'how often the schedule runs a pass';

-- What a pass of the algorithm `adaptive` observes: see `shared/src/model/flow.rs`. Null in other regions.
CREATE OR REPLACE FUNCTION internal.flow(region text, at timestamptz) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'arrivals', (
            SELECT jsonb_agg(coalesce(m.users, 0) ORDER BY n.step)
            FROM generate_series(0, 14) AS n (step)
            LEFT JOIN (
                SELECT floor(date_part('epoch', flow.at - a.came_at) / r.pass_seconds)::integer AS step,
                    count(*) AS users
                FROM internal.arrivals(r.name,
                    flow.at - make_interval(secs => 15 * r.pass_seconds), flow.at) a
                GROUP BY 1
            ) m ON m.step = n.step),
        'ends', (
            SELECT count(*) FROM session_history h
            WHERE h.region = r.name
                AND h.ended_at > flow.at - make_interval(secs => 15 * r.pass_seconds)
                AND h.end_reason <> 'MOVED'),
        'safety_millionths', coalesce(
            (SELECT f.millionths FROM internal.safety_factors f WHERE f.region = r.name), 3000000),
        'boots', (
            SELECT coalesce(jsonb_agg(jsonb_build_object('launched_at', b.launched_at,
                    'active_at', b.registered_at, 'instance_type', b.instance_type, 'spot', b.spot
                ) ORDER BY b.gone_at DESC, b.instance_id), '[]')
            FROM (
                SELECT h.* FROM instance_history h
                WHERE h.region = r.name AND h.registered_at IS NOT NULL
                    AND h.gone_at > flow.at - interval '7 days'
                ORDER BY h.gone_at DESC, h.instance_id LIMIT 60
            ) b))
    FROM regions r WHERE r.name = flow.region AND r.algorithm = 'adaptive'
$$;

-- Tunes a region's safety factor to the users who came since the last pass. Each one who had to wait raises
-- it, each other one lowers it, so that it rests where a little less than the goal waits. The steps get
-- smaller the more it has learnt, but never vanish, because regions change. They are larger the less often
-- users may wait: else it would learn of them too slowly. After a time without passes, only that of the last 15
-- counts.
--
-- It rests where 0.85 times the goal waits: with 0.9, one burst more than usual was enough to exceed the goal.
-- With steps of 0.0063 instead of 0.0045, each burst raised it further than it was needed.
CREATE OR REPLACE FUNCTION internal.tune_safety(region text, at timestamptz) RETURNS void
LANGUAGE sql VOLATILE AS $$
    WITH before AS (
        SELECT r.name AS region, 1.0::double precision / r.stock_out_goal AS goal, r.pass_seconds,
            coalesce(f.millionths, 3000000) AS millionths, coalesce(f.users, 0) AS users,
            coalesce(f.counted_until, tune_safety.at) AS counted_until
        FROM regions r LEFT JOIN internal.safety_factors f ON f.region = r.name
        WHERE r.name = tune_safety.region AND r.algorithm = 'adaptive'
    ), came AS (
        SELECT count(a.came_at) AS users, count(*) FILTER (WHERE a.waited) AS waited
        FROM before b CROSS JOIN LATERAL internal.arrivals(b.region,
            greatest(b.counted_until, tune_safety.at - make_interval(secs => 15 * b.pass_seconds)),
            tune_safety.at) a
    )
    INSERT INTO internal.safety_factors AS f (region, millionths, users, counted_until)
    SELECT b.region,
        round(least(12e6, greatest(0, b.millionths::double precision + 1e6::double precision
            * (0.0045::double precision / sqrt(b.goal)
                / sqrt(1.0::double precision + least(b.users, 100000)::double precision / 8000)
                * (c.waited::double precision
                    - 0.85::double precision * b.goal * c.users::double precision)))))::bigint,
        b.users + c.users, greatest(b.counted_until, tune_safety.at)
    FROM before b CROSS JOIN came c
    ON CONFLICT (region) DO UPDATE SET millionths = EXCLUDED.millionths, users = EXCLUDED.users,
        counted_until = EXCLUDED.counted_until
$$;

-- A recording has those who left without a slot, too, and can be of less than an hour: then its times are as
-- they were asked for, and machine time is counted in the rows instead of the hours.
ALTER TABLE recorded_regions
    -- Pairs of seconds: after `from_at`, when each user who left without a slot asked first, and how long
    -- they went on asking.
    ADD COLUMN unserved jsonb NOT NULL;

CREATE OR REPLACE FUNCTION read_recording(region text, from_at timestamptz, to_at timestamptz)
RETURNS SETOF recorded_regions
LANGUAGE plpgsql VOLATILE
SET jit = off
AS $$
DECLARE
    most_boots CONSTANT integer := 2000;
    most_unserved CONSTANT integer := 100000;
    is_short CONSTANT boolean :=
        read_recording.to_at - read_recording.from_at < interval '1 hour';
    at CONSTANT timestamptz := internal.clock();
    since CONSTANT timestamptz := CASE WHEN is_short THEN read_recording.from_at
        ELSE date_bin('1 hour', read_recording.from_at, 'epoch') END;
    until CONSTANT timestamptz := CASE WHEN is_short THEN least(read_recording.to_at, at)
        ELSE date_bin('1 hour', read_recording.to_at, 'epoch') END;
    used record;
BEGIN
    IF is_short THEN
        SELECT u.machine_seconds, u.session_seconds INTO used
        FROM internal.usage_within(read_recording.region, since, until) u;
    ELSE
        SELECT coalesce(sum(h.machine_seconds), 0) AS machine_seconds,
            coalesce(sum(h.session_seconds), 0) AS session_seconds INTO used
        FROM list_usage(read_recording.region, since, until) h;
    END IF;
    RETURN QUERY
    WITH launched AS MATERIALIZED (
        SELECT h.launched_at, h.registered_at, h.slots FROM instance_history h
        WHERE h.region = read_recording.region AND h.gone_at >= since AND h.launched_at >= since
            AND h.launched_at < until AND h.end_reason <> 'ORPHAN'
        UNION ALL
        SELECT i.launched_at, i.active_at, i.capacity FROM instances i
        WHERE i.region = read_recording.region AND i.active_at IS NOT NULL AND i.launched_at >= since
            AND i.launched_at < until
    ), unserved AS MATERIALIZED (
        SELECT l.first_at, l.last_at FROM internal.unserved_users l
        WHERE l.region = read_recording.region AND l.left_at >= since AND l.first_at >= since
            AND l.first_at < until
        UNION ALL
        -- Those whose row nobody has deleted yet.
        SELECT w.first_at, w.last_at FROM regions r JOIN waiting_users w ON w.region = r.name
        CROSS JOIN LATERAL (SELECT make_interval(secs => r.line_seconds) AS line) l
        WHERE r.name = read_recording.region AND w.first_at >= since AND w.first_at < until
            AND w.last_at + l.line < at AND internal.is_own_visit(w, l.line)
        ORDER BY 1 DESC LIMIT most_unserved
    )
    SELECT to_jsonb(r), since, until,
        to_jsonb(ARRAY(SELECT extract(epoch FROM l.registered_at - l.launched_at)::double precision
            FROM launched l WHERE l.registered_at IS NOT NULL
            ORDER BY l.registered_at DESC LIMIT most_boots)),
        l.registered, l.never_registered, l.slots, used.machine_seconds, used.session_seconds,
        to_jsonb(ARRAY(SELECT jsonb_build_array(extract(epoch FROM u.first_at - since),
                extract(epoch FROM u.last_at - u.first_at))
            FROM unserved u ORDER BY u.first_at, u.last_at))
    FROM regions r
    CROSS JOIN LATERAL (
        SELECT count(n.registered_at)::integer AS registered,
            (count(*) - count(n.registered_at))::integer AS never_registered,
            coalesce(sum(n.slots) FILTER (WHERE n.registered_at IS NOT NULL), 0)::integer AS slots
        FROM launched n
    ) l
    WHERE r.name = read_recording.region;
END
$$;
COMMENT ON FUNCTION read_recording IS
    'What a region had from one time until another, at most 32 days: its settings now, how long its '
    'machines booted, machine time, and who left without a slot. In whole hours, unless the time is '
    'shorter than one.';

-- Who left is kept as long as sessions are: replays play both.
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
    DELETE FROM internal.unserved_users l WHERE l.ctid = ANY (ARRAY(
        SELECT o.ctid FROM internal.unserved_users o
        WHERE o.region = prune_history.region
            -- Hours are counted two days later at most.
            AND o.left_at < least(kept_since, now() - interval '3 days')
        ORDER BY o.left_at LIMIT prune_history.most FOR UPDATE SKIP LOCKED));
    DELETE FROM usage_hours u WHERE u.region = prune_history.region AND u.hour < kept_since;
END
$$;
