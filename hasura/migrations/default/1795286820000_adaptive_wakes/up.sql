-- Passes of the algorithm `adaptive` come more often than each minute, and its safety factor keeps a larger
-- distance from the goal, with smaller steps.
--
-- Nothing in the database knows the algorithm's target, so that users who are served cannot wake the region
-- when it is missed. With a pass each minute, a new slot was launched half a minute late on average: where
-- machines boot in a minute, that is a third of the time that it took.

-- As before, but users who are served also wake an adaptive region that no pass has observed for a third of the
-- time between scheduled ones: 20 seconds.
CREATE OR REPLACE FUNCTION internal.wake(region text, image_id text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    at CONSTANT timestamptz := internal.clock();
    this_bucket CONSTANT timestamptz := date_bin('2 seconds', at, 'epoch');
    is_needed boolean := wake.image_id IS NULL;
BEGIN
    IF EXISTS (SELECT FROM region_wakeups w
            WHERE w.region = wake.region AND w.bucket = this_bucket)
    THEN
        RETURN;
    END IF;
    IF NOT is_needed THEN
        is_needed := EXISTS (
            SELECT FROM regions r
            WHERE r.name = wake.region AND r.algorithm = 'adaptive'
                -- Until a woken pass comes, its wake-up counts.
                AND NOT EXISTS (SELECT FROM region_wakeups w
                    WHERE w.region = r.name
                        AND w.bucket > at - make_interval(secs => r.pass_seconds / 3.0))
                AND NOT EXISTS (SELECT FROM region_fences f
                    WHERE f.region = r.name
                        AND f.last_pass_at > at - make_interval(secs => r.pass_seconds / 3.0)));
    END IF;
    IF NOT is_needed THEN
        is_needed := NOT EXISTS (SELECT FROM internal.spare_slots p
                WHERE p.region = wake.region AND p.image_id = wake.image_id
                    AND p.until > at AND (p.renew_at > at
                        OR NOT internal.counts_spare_slots(wake.region, wake.image_id)))
            AND internal.is_below_target(wake.region, wake.image_id);
    END IF;
    IF is_needed AND pg_try_advisory_xact_lock(
        hashtextextended('wake ' || wake.region || ' ' || this_bucket::text, 0))
    THEN
        INSERT INTO region_wakeups (region, bucket) VALUES (wake.region, this_bucket)
        ON CONFLICT DO NOTHING;
    END IF;
END
$$;

-- As before, but the factor rests where 0.85 times the goal wait: with 0.9, one burst more than usual was
-- enough to exceed the goal. And its steps are smaller: with 0.0063, each burst raised it further than it was
-- needed.
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
