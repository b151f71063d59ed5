DROP FUNCTION forget_user(text);
DROP TABLE forget_results;
DROP TABLE internal.users_to_forget;
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
$$;
DROP FUNCTION internal.prune_history(text, integer);
DROP FUNCTION list_usage(text, timestamptz, timestamptz);
DROP FUNCTION internal.count_hours(text);
DROP FUNCTION internal.uncounted_hours(text, timestamptz);
DROP FUNCTION internal.usage_of(text, timestamptz, timestamptz);
DROP FUNCTION internal.sessions_within(text, timestamptz, timestamptz);
DROP FUNCTION internal.histogram(jsonb, double precision[]);
DROP TABLE usage_hours;
DROP FUNCTION list_sessions(timestamptz, timestamptz, timestamptz, uuid, integer);

DROP TRIGGER instances_are_gone ON instances;
DROP TRIGGER instances_are_ending ON instances;
DROP FUNCTION internal.instance_is_gone();
DROP FUNCTION internal.stays(text, timestamptz, timestamptz);
DROP FUNCTION internal.instance_is_ending();
DROP TRIGGER slots_sessions_leave ON slots;
DROP TRIGGER slots_sessions_are_deleted ON slots;
DROP TRIGGER slots_sessions_end ON slots;
DROP TRIGGER slots_run ON slots;
DROP FUNCTION internal.session_left_slot();
DROP FUNCTION internal.session_is_over();
DROP FUNCTION internal.record_session(slots, text);
DROP FUNCTION internal.why_session_ended(slots, text, instances);
DROP FUNCTION internal.slot_runs();
DROP VIEW sessions;
DROP TABLE instance_history;
DROP TABLE session_history;
ALTER TABLE instances DROP COLUMN end_reason, DROP COLUMN terminating_at;
ALTER TABLE slots DROP COLUMN running_at;
ALTER TABLE regions DROP CONSTRAINT regions_history_days_1_to_3650, DROP COLUMN history_days;
