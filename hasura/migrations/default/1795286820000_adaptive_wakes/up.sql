-- Passes of the algorithm `adaptive` come more often than each minute.
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
