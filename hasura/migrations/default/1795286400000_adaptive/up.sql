-- The algorithm `adaptive`: its settings, what it knows of a region's users, and its safety factor.
--
-- A pass observes the flow of users in its first request, with everything else. Only regions of this
-- algorithm pay for it: it reads the sessions of a quarter of an hour and the slots of the region.

ALTER TABLE regions
    ADD COLUMN stock_out_goal integer NOT NULL DEFAULT 1000,
    ADD COLUMN target_ceiling integer,
    ADD CONSTRAINT regions_stock_out_goal_10_to_100000 CHECK (stock_out_goal BETWEEN 10 AND 100000),
    ADD CONSTRAINT regions_target_ceiling_not_negative CHECK (target_ceiling >= 0);
COMMENT ON COLUMN regions.stock_out_goal IS
    'algorithm adaptive: at most one user in this many is to wait for a slot';
COMMENT ON COLUMN regions.target_ceiling IS
    'algorithm adaptive: the most free slots that it keeps, unless target_free is more';

-- By how many spreads of the need a region's buffer exceeds the expected need. There is no foreign key, as
-- for fences: passes write it while they hold the region's fence.
CREATE TABLE internal.safety_factors (
    region        text PRIMARY KEY,
    -- Whole numbers: the same in each calculation.
    millionths    bigint NOT NULL,
    -- How many users it has been tuned to.
    users         bigint NOT NULL,
    counted_until timestamptz NOT NULL,
    CONSTRAINT safety_factors_millionths_0_to_12 CHECK (millionths BETWEEN 0 AND 12000000)
);

-- Users who came to a region within a time, each once, and whether they had to wait. Those in line who are
-- demand elsewhere come to that region. A session that moved to another slot came once.
CREATE FUNCTION internal.arrivals(region text, since timestamptz, until timestamptz)
RETURNS TABLE (came_at timestamptz, waited boolean)
LANGUAGE sql STABLE AS $$
    SELECT a.came_at, a.waited
    FROM (
        SELECT h.requested_at AS came_at, h.waited_seconds > 0 AS waited
        FROM session_history h
        -- Nobody ends before they come.
        WHERE h.region = arrivals.region AND h.ended_at > arrivals.since AND h.end_reason <> 'MOVED'
        UNION ALL
        SELECT coalesce(s.first_allocated_at, s.allocated_at)
            - make_interval(secs => s.waited_seconds), s.waited_seconds > 0
        FROM instances i JOIN slots s ON s.instance_id = i.id
        WHERE i.region = arrivals.region AND s.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING')
        UNION ALL
        SELECT w.first_at, true FROM waiting_users w
        WHERE w.region = arrivals.region
            AND internal.demand_region(w.regions, arrivals.until) = arrivals.region
    ) a
    WHERE a.came_at > arrivals.since AND a.came_at <= arrivals.until
$$;

-- What a pass of the algorithm `adaptive` observes: see `shared/src/model/flow.rs`. Null in other regions.
CREATE FUNCTION internal.flow(region text, at timestamptz) RETURNS jsonb
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
CREATE FUNCTION internal.tune_safety(region text, at timestamptz) RETURNS void
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

CREATE OR REPLACE FUNCTION begin_pass(region text, version bigint) RETURNS SETOF pass_fences
LANGUAGE plpgsql AS $$
DECLARE
    in_force CONSTANT bigint := internal.raise_fence(begin_pass.region, begin_pass.version);
    -- The fence is held: nothing that it orders can commit between this time and the observation.
    began CONSTANT timestamptz := internal.clock();
BEGIN
    IF in_force = begin_pass.version THEN
        UPDATE region_fences f
        SET watched_since = internal.watched_since(begin_pass.region, began), last_pass_at = began
        WHERE f.region = begin_pass.region;
        PERFORM internal.prune(begin_pass.region);
        PERFORM internal.tune_safety(begin_pass.region, began);
    END IF;
    RETURN QUERY SELECT begin_pass.region, in_force, in_force = begin_pass.version;
END
$$;

ALTER TABLE region_views ADD COLUMN flow jsonb;

CREATE OR REPLACE FUNCTION observe_region(region text, environment text)
RETURNS SETOF region_views
LANGUAGE sql VOLATILE
SET jit = off
AS $$
    WITH clock AS MATERIALIZED (SELECT internal.clock() AS now)
    SELECT r.name, c.now, internal.demand(r.name, c.now), internal.watched_since(r.name, c.now),
        (SELECT v.client_sha FROM app_versions v WHERE v.environment = observe_region.environment),
        to_jsonb(r), internal.lines(r.name, c.now),
        CASE WHEN r.algorithm = 'adaptive' THEN internal.flow(r.name, c.now) END
    FROM regions r CROSS JOIN clock c WHERE r.name = observe_region.region
$$;
COMMENT ON FUNCTION observe_region IS
    'A region''s settings, the database''s time, the number of users in line who are demand of the '
    'region, its lines, the flow of its users where the algorithm is adaptive, and the client_sha of '
    'the environment''s app version.';
