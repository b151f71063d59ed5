ALTER TABLE recorded_regions DROP COLUMN unserved;

CREATE OR REPLACE FUNCTION read_recording(region text, from_at timestamptz, to_at timestamptz)
RETURNS SETOF recorded_regions
LANGUAGE plpgsql VOLATILE
SET jit = off
AS $$
DECLARE
    most_boots CONSTANT integer := 2000;
    since CONSTANT timestamptz := date_bin('1 hour', read_recording.from_at, 'epoch');
    until CONSTANT timestamptz := date_bin('1 hour', read_recording.to_at, 'epoch');
BEGIN
    RETURN QUERY
    WITH launched AS MATERIALIZED (
        SELECT h.launched_at, h.registered_at, h.slots FROM instance_history h
        WHERE h.region = read_recording.region AND h.gone_at >= since AND h.launched_at >= since
            AND h.launched_at < until AND h.end_reason <> 'ORPHAN'
        UNION ALL
        SELECT i.launched_at, i.active_at, i.capacity FROM instances i
        WHERE i.region = read_recording.region AND i.active_at IS NOT NULL AND i.launched_at >= since
            AND i.launched_at < until
    )
    SELECT to_jsonb(r), since, until,
        to_jsonb(ARRAY(SELECT extract(epoch FROM l.registered_at - l.launched_at)::double precision
            FROM launched l WHERE l.registered_at IS NOT NULL
            ORDER BY l.registered_at DESC LIMIT most_boots)),
        l.registered, l.never_registered, l.slots, u.machine_seconds, u.session_seconds
    FROM regions r
    CROSS JOIN LATERAL (
        SELECT count(n.registered_at)::integer AS registered,
            (count(*) - count(n.registered_at))::integer AS never_registered,
            coalesce(sum(n.slots) FILTER (WHERE n.registered_at IS NOT NULL), 0)::integer AS slots
        FROM launched n
    ) l
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(h.machine_seconds), 0) AS machine_seconds,
            coalesce(sum(h.session_seconds), 0) AS session_seconds
        FROM list_usage(r.name, since, until) h
    ) u
    WHERE r.name = read_recording.region;
END
$$;
COMMENT ON FUNCTION read_recording IS
    'What a region had in whole hours from one time until another, at most 32 days: its settings now, how '
    'long its machines booted, and machine time.';

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
    -- Hours are counted two days later at most.
    DELETE FROM internal.unserved_users l WHERE l.ctid = ANY (ARRAY(
        SELECT o.ctid FROM internal.unserved_users o
        WHERE o.region = prune_history.region AND o.left_at < now() - interval '3 days'
        ORDER BY o.left_at LIMIT prune_history.most FOR UPDATE SKIP LOCKED));
    DELETE FROM usage_hours u WHERE u.region = prune_history.region AND u.hour < kept_since;
END
$$;

-- What a pass of the algorithm `adaptive` observes: see `shared/src/model/flow.rs`. Null in other regions.
CREATE OR REPLACE FUNCTION internal.flow(region text, at timestamptz) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'arrivals', (
            SELECT jsonb_agg(coalesce(m.users, 0) ORDER BY n.minute)
            FROM generate_series(0, 14) AS n (minute)
            LEFT JOIN (
                SELECT floor(date_part('epoch', flow.at - a.came_at) / 60)::integer AS minute,
                    count(*) AS users
                FROM internal.arrivals(r.name, flow.at - interval '15 minutes', flow.at) a
                GROUP BY 1
            ) m ON m.minute = n.minute),
        'ends', (
            SELECT count(*) FROM session_history h
            WHERE h.region = r.name AND h.ended_at > flow.at - interval '15 minutes'
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
-- users may wait: else it would learn of them too slowly. After a time without passes, only the last quarter of an hour counts.
CREATE OR REPLACE FUNCTION internal.tune_safety(region text, at timestamptz) RETURNS void
LANGUAGE sql VOLATILE AS $$
    WITH before AS (
        SELECT r.name AS region, 1.0::double precision / r.stock_out_goal AS goal,
            coalesce(f.millionths, 3000000) AS millionths, coalesce(f.users, 0) AS users,
            coalesce(f.counted_until, tune_safety.at) AS counted_until
        FROM regions r LEFT JOIN internal.safety_factors f ON f.region = r.name
        WHERE r.name = tune_safety.region AND r.algorithm = 'adaptive'
    ), came AS (
        SELECT count(a.came_at) AS users, count(*) FILTER (WHERE a.waited) AS waited
        FROM before b CROSS JOIN LATERAL internal.arrivals(b.region,
            greatest(b.counted_until, tune_safety.at - interval '15 minutes'), tune_safety.at) a
    )
    INSERT INTO internal.safety_factors AS f (region, millionths, users, counted_until)
    SELECT b.region,
        round(least(12e6, greatest(0, b.millionths::double precision + 1e6::double precision
            * (0.0063::double precision / sqrt(b.goal)
                / sqrt(1.0::double precision + least(b.users, 100000)::double precision / 8000)
                * (c.waited::double precision
                    - 0.9::double precision * b.goal * c.users::double precision)))))::bigint,
        b.users + c.users, greatest(b.counted_until, tune_safety.at)
    FROM before b CROSS JOIN came c
    ON CONFLICT (region) DO UPDATE SET millionths = EXCLUDED.millionths, users = EXCLUDED.users,
        counted_until = EXCLUDED.counted_until
$$;

ALTER TABLE regions DROP CONSTRAINT regions_pass_seconds_1_to_600, DROP COLUMN pass_seconds;
