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
            * (0.0063::double precision / sqrt(b.goal)
                / sqrt(1.0::double precision + least(b.users, 100000)::double precision / 8000)
                * (c.waited::double precision
                    - 0.9::double precision * b.goal * c.users::double precision)))))::bigint,
        b.users + c.users, greatest(b.counted_until, tune_safety.at)
    FROM before b CROSS JOIN came c
    ON CONFLICT (region) DO UPDATE SET millionths = EXCLUDED.millionths, users = EXCLUDED.users,
        counted_until = EXCLUDED.counted_until
$$;

CREATE OR REPLACE FUNCTION internal.wake(region text, image_id text) RETURNS void
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
