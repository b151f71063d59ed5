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
