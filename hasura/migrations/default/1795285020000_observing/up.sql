-- How a pass begins: one mutation raises the region's fence and then reads the
-- region, so that the data read is never older than the fence.
--
-- A function that GraphQL exposes must return rows of a table. Each result type is
-- therefore a table that never has rows (constraint `…_only_a_shape`).

CREATE TABLE pass_fences (
    region  text NOT NULL,
    version bigint NOT NULL,
    granted boolean NOT NULL,
    CONSTRAINT pass_fences_only_a_shape CHECK (false)
);

CREATE TABLE region_views (
    name               text NOT NULL,
    enabled            boolean NOT NULL,
    paused             boolean NOT NULL,
    algorithm          text NOT NULL,
    target_free        integer NOT NULL,
    max_instances      integer NOT NULL,
    scale_up_step      integer NOT NULL,
    scale_down_step    integer NOT NULL,
    launch_choices     jsonb NOT NULL,
    security_groups    jsonb NOT NULL,
    instance_profile   text,
    user_data_template text,
    heartbeat_seconds  integer NOT NULL,
    lost_seconds       integer NOT NULL,
    claim_seconds      integer NOT NULL,
    boot_seconds       integer NOT NULL,
    drain_seconds      integer NOT NULL,
    missing_seconds    integer NOT NULL,
    orphan_seconds     integer NOT NULL,
    upgrade_surge      integer NOT NULL,
    upgrade_seconds    integer NOT NULL,
    swap_when_warm     boolean NOT NULL,
    bake_seconds       integer NOT NULL,
    old_image_seconds  integer,
    replica_capacity integer,
    replica_min_available integer,
    replica_api_protocol text,
    replica_api_port integer,
    replica_api_path text,
    replica_api_capacity_key text,
    replica_api_termination_key text,
    replica_api_seconds integer,
    replica_trim boolean,
    replica_unknown_seconds integer,
    replica_boot_seconds integer,
    replica_address_tag text,
    -- The database's clock. Ages are computed with the clock that wrote the times.
    now                timestamptz NOT NULL,
    waiting            integer NOT NULL,
    watched_since      timestamptz NOT NULL,
    -- The client_sha that the environment's users should run. Null without an app version.
    app_client_sha     text,
    CONSTRAINT region_views_only_a_shape CHECK (false)
);

CREATE TABLE instance_views (
    id              text NOT NULL,
    launch_id       text NOT NULL,
    image_id        text NOT NULL,
    client_sha      text NOT NULL,
    instance_type   text NOT NULL,
    capacity        integer NOT NULL,
    ip_addr         text,
    status          text NOT NULL,
    launched_at     timestamptz NOT NULL,
    active_at       timestamptz,
    draining_since  timestamptz,
    missing_since   timestamptz,
    beat_at         timestamptz,
    resumed_at      timestamptz,
    notice          text,
    slots_waiting   integer NOT NULL,
    slots_occupied  integer NOT NULL,
    slots_unclaimed integer NOT NULL,
    CONSTRAINT instance_views_only_a_shape CHECK (false)
);

-- Raises the fence to `version` unless it is higher already, and returns the version
-- in force. The row stays locked until the transaction ends, so a write with an
-- older version either committed before or is refused.
CREATE FUNCTION internal.raise_fence(region text, version bigint) RETURNS bigint
LANGUAGE sql AS $$
    INSERT INTO region_fences AS f (region, version)
    VALUES (raise_fence.region, raise_fence.version)
    ON CONFLICT (region) DO UPDATE SET version = greatest(f.version, excluded.version)
    RETURNING f.version
$$;

-- Deletes wake-ups and waiting users older than an hour: a bounded number per pass,
-- and only rows that no other transaction has locked.
CREATE FUNCTION internal.prune(region text) RETURNS void
LANGUAGE sql AS $$
    DELETE FROM region_wakeups w WHERE (w.region, w.bucket) IN (
        SELECT o.region, o.bucket FROM region_wakeups o
        WHERE o.region = prune.region AND o.bucket < now() - interval '1 hour'
        ORDER BY o.bucket LIMIT 2000 FOR UPDATE SKIP LOCKED);
    DELETE FROM waiting_users u WHERE (u.user_id, u.session_id) IN (
        SELECT o.user_id, o.session_id FROM waiting_users o
        WHERE o.region = prune.region AND o.last_at < now() - interval '1 hour'
        ORDER BY o.last_at LIMIT 2000 FOR UPDATE SKIP LOCKED);
$$;

-- Since when passes have observed a region without a long gap. After a gap (this
-- database was down, for example) no agent has a recent heartbeat, through no fault
-- of its own, so the time for losing an agent starts again. A gap is long from half
-- of `lost_seconds` on, which leaves the other half for a heartbeat to arrive; but
-- never below 90 seconds, since passes run once a minute.
CREATE FUNCTION internal.watched_since(region text) RETURNS timestamptz
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN f.last_pass_at >= now() - make_interval(secs => greatest(r.lost_seconds / 2.0, 90))
        -- Null if a pass was requested before the region had a row.
        THEN coalesce(f.watched_since, now()) ELSE now() END
    FROM regions r LEFT JOIN region_fences f ON f.region = r.name
    WHERE r.name = watched_since.region
$$;

CREATE FUNCTION begin_pass(region text, version bigint) RETURNS SETOF pass_fences
LANGUAGE plpgsql AS $$
DECLARE
    in_force bigint := internal.raise_fence(begin_pass.region, begin_pass.version);
BEGIN
    IF in_force = begin_pass.version THEN
        UPDATE region_fences f
        SET watched_since = internal.watched_since(begin_pass.region), last_pass_at = now()
        WHERE f.region = begin_pass.region;
        PERFORM internal.prune(begin_pass.region);
    END IF;
    RETURN QUERY SELECT begin_pass.region, in_force, in_force = begin_pass.version;
END
$$;
COMMENT ON FUNCTION begin_pass IS
    'Raises the region''s fence to a pass''s lock version, or returns the higher version in force.';

CREATE FUNCTION observe_region(region text, environment text) RETURNS SETOF region_views
LANGUAGE sql VOLATILE AS $$
    SELECT r.name, r.enabled, r.paused, r.algorithm, r.target_free, r.max_instances,
        r.scale_up_step, r.scale_down_step, r.launch_choices, r.security_groups,
        r.instance_profile, r.user_data_template, r.heartbeat_seconds, r.lost_seconds,
        r.claim_seconds, r.boot_seconds, r.drain_seconds, r.missing_seconds, r.orphan_seconds,
        r.upgrade_surge, r.upgrade_seconds, r.swap_when_warm, r.bake_seconds, r.old_image_seconds,
        r.replica_capacity, r.replica_min_available, r.replica_api_protocol, r.replica_api_port,
        r.replica_api_path, r.replica_api_capacity_key, r.replica_api_termination_key,
        r.replica_api_seconds, r.replica_trim, r.replica_unknown_seconds,
        r.replica_boot_seconds, r.replica_address_tag,
        now(),
        -- Counts users, not requests: a user who retries with another session counts once.
        (SELECT count(DISTINCT u.user_id)::integer FROM waiting_users u
         WHERE u.region = r.name AND u.last_at >= now() - interval '1 minute'),
        internal.watched_since(r.name),
        (SELECT v.client_sha FROM app_versions v WHERE v.environment = observe_region.environment)
    FROM regions r WHERE r.name = observe_region.region
$$;
COMMENT ON FUNCTION observe_region IS
    'A region''s settings, the database''s time, the number of users refused in the last minute, '
    'and the client_sha of the environment''s app version.';

CREATE FUNCTION observe_images(region text) RETURNS SETOF images
LANGUAGE sql VOLATILE AS $$
    SELECT m.* FROM images m WHERE m.region = observe_images.region ORDER BY m.image_id
$$;
COMMENT ON FUNCTION observe_images IS 'A region''s images, by id.';

CREATE FUNCTION observe_instances(region text, after_id text, page_size integer)
RETURNS SETOF instance_views
LANGUAGE sql VOLATILE AS $$
    SELECT i.id, i.launch_id, i.image_id, i.client_sha, i.instance_type, i.capacity, i.ip_addr,
        i.status, i.launched_at, i.active_at, i.draining_since, i.missing_since, h.beat_at,
        h.resumed_at, i.notice,
        s.waiting, s.occupied, s.unclaimed
    FROM regions r
    JOIN instances i ON i.region = r.name
    LEFT JOIN heartbeats h ON h.instance_id = i.id
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE s.status = 'WAITING')::integer AS waiting,
            count(*) FILTER (WHERE s.status <> 'WAITING')::integer AS occupied,
            count(*) FILTER (WHERE s.status = 'ALLOCATED'
                AND s.allocated_at < now() - make_interval(secs => r.claim_seconds))::integer
                AS unclaimed
        FROM slots s WHERE s.instance_id = i.id
    ) s
    WHERE r.name = observe_instances.region AND i.id > coalesce(observe_instances.after_id, '')
    ORDER BY i.id
    LIMIT greatest(observe_instances.page_size, 1)
$$;
COMMENT ON FUNCTION observe_instances IS
    'One page of a region''s instances, after an id, with the numbers of their slots.';
