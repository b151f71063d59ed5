CREATE OR REPLACE FUNCTION internal.instance_is_gone() RETURNS trigger
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

ALTER TABLE instance_views DROP COLUMN running_at;
CREATE OR REPLACE FUNCTION observe_instances(region text, after_id text, page_size integer)
RETURNS SETOF instance_views
LANGUAGE sql VOLATILE AS $$
    SELECT i.id, i.launch_id, i.image_id, i.client_sha, i.instance_type, i.capacity, i.ip_addr,
        i.status, i.launched_at, i.active_at, i.draining_since, i.missing_since, h.beat_at,
        h.resumed_at, i.notice,
        s.waiting, s.occupied, s.unclaimed,
        i.subnet_id, i.spot, i.drain_cause, i.leave_reason,
        t.key_id, t.valid_until, CASE WHEN t.taken_at IS NULL THEN t.renewed_at END,
        host(i.private_ip), host(i.public_ip),
        CASE WHEN r.quick_end_seconds > 0 THEN coalesce(cardinality(e.quick_users), 0) ELSE 0 END,
        CASE WHEN r.quick_end_seconds > 0 THEN f.unclaimed ELSE 0 END,
        s.lives OR coalesce(e.lived_at > now() - interval '1 hour', false),
        s.due, s.overdue, s.dying
    FROM regions r
    JOIN instances i ON i.region = r.name
    LEFT JOIN heartbeats h ON h.instance_id = i.id
    LEFT JOIN internal.agent_tokens t ON t.instance_id = i.id
    LEFT JOIN internal.session_ends e ON e.instance_id = i.id
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE internal.is_free(s.status, s.free_from))::integer AS waiting,
            count(*) FILTER (WHERE s.status <> 'WAITING')::integer AS occupied,
            count(*) FILTER (WHERE s.status = 'ALLOCATED'
                AND s.allocated_at < now() - make_interval(secs => r.claim_seconds))::integer
                AS unclaimed,
            count(*) FILTER (WHERE internal.is_end_due(s, i, r))::integer AS due,
            count(*) FILTER (WHERE internal.is_overdue(s, r))::integer AS overdue,
            count(*) FILTER (WHERE s.status = 'DYING')::integer AS dying,
            coalesce(bool_or(s.status = 'RUNNING'
                AND s.claimed_at <= now() - make_interval(secs => r.quick_end_seconds)), false)
                AS lives,
            max(s.claimed_at) AS claimed_at
        FROM slots s WHERE s.instance_id = i.id
    ) s
    CROSS JOIN LATERAL (
        SELECT count(DISTINCT f.user_id)::integer AS unclaimed FROM internal.failed_sessions f
        WHERE f.instance_id = i.id AND NOT f.claimed
            AND f.failed_at > greatest(e.ended_at, s.claimed_at, now() - interval '1 hour')
    ) f
    WHERE r.name = observe_instances.region AND i.id > coalesce(observe_instances.after_id, '')
    ORDER BY i.id
    LIMIT greatest(observe_instances.page_size, 1)
$$;

DROP FUNCTION note_running(jsonb);
ALTER TABLE instance_history DROP COLUMN running_at;
ALTER TABLE instances DROP COLUMN running_at;
