-- What a region's past is played again from: who arrived when and stayed how long, how long its machines
-- booted, and what that cost. `reconcile` reads it to say what other settings would have cost.

CREATE TABLE recorded_regions (
    -- As observed: the row of `regions`.
    settings         jsonb NOT NULL,
    -- The recorded time: whole hours.
    from_at          timestamptz NOT NULL,
    to_at            timestamptz NOT NULL,
    -- Seconds from launch to registration, of the newest instances that registered in that time. JSON,
    -- because GraphQL has no arrays of columns.
    boots            jsonb NOT NULL,
    -- How many instances in that time registered, and how many never did.
    registered       integer NOT NULL,
    never_registered integer NOT NULL,
    -- Slots of these instances.
    slots            integer NOT NULL,
    machine_seconds  double precision NOT NULL,
    session_seconds  double precision NOT NULL,
    CONSTRAINT recorded_regions_only_a_shape CHECK (false)
);

CREATE FUNCTION read_recording(region text, from_at timestamptz, to_at timestamptz)
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

CREATE TABLE recorded_sessions (
    -- When the user asked first.
    requested_at timestamptz NOT NULL,
    assigned_at  timestamptz NOT NULL,
    -- Null while it lasts.
    ended_at     timestamptz,
    slot_id      uuid NOT NULL,
    CONSTRAINT recorded_sessions_only_a_shape CHECK (false)
);

-- The order is that of the index by ends. A session that lasts comes last.
CREATE FUNCTION read_recorded_sessions(region text, from_at timestamptz, to_at timestamptz,
    after_at timestamptz, after_slot uuid, page_size integer)
RETURNS SETOF recorded_sessions
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
DECLARE
    lasting CONSTANT timestamptz := '9000-01-01 00:00:00+00';
    first CONSTANT timestamptz :=
        greatest(read_recorded_sessions.from_at, read_recorded_sessions.after_at);
    after CONSTANT uuid :=
        coalesce(read_recorded_sessions.after_slot, '00000000-0000-0000-0000-000000000000');
    most CONSTANT integer := least(greatest(read_recorded_sessions.page_size, 1), 20000);
BEGIN
    RETURN QUERY
    SELECT s.requested_at, s.assigned_at, nullif(s.until, lasting), s.slot_id FROM (
        (SELECT h.requested_at, h.assigned_at, h.ended_at AS until, h.slot_id
        FROM session_history h
        WHERE h.region = read_recorded_sessions.region AND h.ended_at >= first
            AND (h.ended_at, h.slot_id) > (first, after)
            AND h.assigned_at < read_recorded_sessions.to_at AND h.end_reason <> 'MOVED'
        ORDER BY h.ended_at, h.slot_id LIMIT most)
        UNION ALL
        (SELECT c.requested_at, c.assigned_at, lasting, c.slot_id
        FROM sessions c
        WHERE c.ended_at IS NULL AND c.region = read_recorded_sessions.region
            AND c.assigned_at < read_recorded_sessions.to_at AND (lasting, c.slot_id) > (first, after)
        ORDER BY c.slot_id LIMIT most)
    ) s
    ORDER BY s.until, s.slot_id LIMIT most;
END
$$;
COMMENT ON FUNCTION read_recorded_sessions IS
    'One page of a region''s sessions that had not ended at one time and had their slot before another, by '
    'their end and the slot; those that last come last (their end is null: the next page is after '
    '9000-01-01). Without users.';
