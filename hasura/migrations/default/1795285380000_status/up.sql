-- The queries of the `status` function, for all regions. Instances, slots and users are counted
-- here, so that a result has one row per region or image rather than per instance or user.

CREATE TABLE region_statuses (
    region          text NOT NULL,
    enabled         boolean NOT NULL,
    paused          boolean NOT NULL,
    algorithm       text NOT NULL,
    target_free     integer NOT NULL,
    max_instances   integer NOT NULL,
    scale_up_step   integer NOT NULL,
    scale_down_step integer NOT NULL,
    heartbeat_seconds integer NOT NULL,
    lost_seconds    integer NOT NULL,
    upgrade_surge   integer NOT NULL,
    upgrade_seconds integer NOT NULL,
    swap_when_warm  boolean NOT NULL,
    bake_seconds    integer NOT NULL,
    created_at      timestamptz NOT NULL,
    now             timestamptz NOT NULL,
    waiting         integer NOT NULL,
    -- The last pass that began to observe, even if it failed later. Null before the first pass.
    fence_version   bigint,
    looked_at       timestamptz,
    app_client_sha  text,
    CONSTRAINT region_statuses_only_a_shape CHECK (false)
);

CREATE TABLE image_statuses (
    region         text NOT NULL,
    image_id       text NOT NULL,
    client_sha     text NOT NULL,
    -- Null if instances run on the image although it has no row in `images`.
    state          text,
    state_since    timestamptz,
    reason         text,
    pre_connection integer NOT NULL,
    active         integer NOT NULL,
    draining       integer NOT NULL,
    terminating    integer NOT NULL,
    -- Active instances that users may be assigned to.
    open           integer NOT NULL,
    free           integer NOT NULL,
    starting       integer NOT NULL,
    occupied       integer NOT NULL,
    CONSTRAINT image_statuses_only_a_shape CHECK (false)
);

CREATE FUNCTION status_regions(environment text) RETURNS SETOF region_statuses
LANGUAGE sql VOLATILE AS $$
    SELECT r.name, r.enabled, r.paused, r.algorithm, r.target_free, r.max_instances,
        r.scale_up_step, r.scale_down_step, r.heartbeat_seconds, r.lost_seconds, r.upgrade_surge,
        r.upgrade_seconds, r.swap_when_warm, r.bake_seconds, r.created_at, now(),
        -- Counted as in `observe_region`.
        (SELECT count(DISTINCT u.user_id)::integer FROM waiting_users u
         WHERE u.region = r.name AND u.last_at >= now() - interval '1 minute'),
        f.version, f.last_pass_at,
        (SELECT v.client_sha FROM app_versions v WHERE v.environment = status_regions.environment)
    FROM regions r LEFT JOIN region_fences f ON f.region = r.name
    ORDER BY r.name
$$;
COMMENT ON FUNCTION status_regions IS
    'All regions: settings, the database''s time, the number of users refused in the last minute, '
    'and when a pass last observed the region.';

-- RETIRED and FAILED images that no instance runs on accumulate forever. Only the latest three of
-- each region are returned: one of them may have just failed, which people want to see.
--
-- JIT is off because compiling takes longer than the query.
CREATE FUNCTION status_images() RETURNS SETOF image_statuses
LANGUAGE sql VOLATILE
SET jit = off
AS $$
    WITH counted AS (
        SELECT s.instance_id,
            count(*) FILTER (WHERE s.status = 'WAITING') AS waiting,
            count(*) FILTER (WHERE s.status <> 'WAITING') AS occupied
        FROM slots s GROUP BY s.instance_id
    ), since AS MATERIALIZED (
        SELECT r.name AS region, internal.beat_since(r.name) AS beat_since FROM regions r
    ), hosts AS MATERIALIZED (
        SELECT i.region, i.image_id, i.client_sha, i.status, i.capacity,
            coalesce(c.waiting, 0) AS waiting, coalesce(c.occupied, 0) AS occupied,
            -- The rule that assigning uses. MATERIALIZED, so that it is evaluated once per instance.
            i.status = 'ACTIVE' AND EXISTS (SELECT FROM internal.open_instance(
                i.id, ARRAY[i.image_id], b.beat_since)) AS open
        FROM instances i
        JOIN since b ON b.region = i.region
        LEFT JOIN counted c ON c.instance_id = i.id
    ), totals AS (
        SELECT h.region, h.image_id, min(h.client_sha) AS client_sha,
            count(*) FILTER (WHERE h.status = 'PRE_CONNECTION') AS pre_connection,
            count(*) FILTER (WHERE h.status = 'ACTIVE') AS active,
            count(*) FILTER (WHERE h.status = 'DRAINING') AS draining,
            count(*) FILTER (WHERE h.status = 'TERMINATING') AS terminating,
            count(*) FILTER (WHERE h.open) AS open,
            sum(h.waiting) FILTER (WHERE h.open) AS free,
            sum(h.capacity) FILTER (WHERE h.status = 'PRE_CONNECTION') AS starting,
            sum(h.occupied) AS occupied
        FROM hosts h GROUP BY h.region, h.image_id
    ), known AS (
        SELECT m.*, row_number() OVER (
                PARTITION BY m.region, m.state IN ('RETIRED', 'FAILED')
                ORDER BY m.state_since DESC, m.image_id) AS place
        FROM images m
    )
    SELECT coalesce(m.region, t.region), coalesce(m.image_id, t.image_id),
        coalesce(m.client_sha, t.client_sha), m.state, m.state_since, m.reason,
        coalesce(t.pre_connection, 0)::integer, coalesce(t.active, 0)::integer,
        coalesce(t.draining, 0)::integer, coalesce(t.terminating, 0)::integer,
        coalesce(t.open, 0)::integer, coalesce(t.free, 0)::integer,
        coalesce(t.starting, 0)::integer, coalesce(t.occupied, 0)::integer
    FROM known m FULL JOIN totals t ON t.region = m.region AND t.image_id = m.image_id
    WHERE t.region IS NOT NULL OR m.state NOT IN ('RETIRED', 'FAILED') OR m.place <= 3
    ORDER BY 1, m.state_since DESC NULLS LAST, 2
$$;
COMMENT ON FUNCTION status_images IS
    'All images that are WARMING, CURRENT or BAKING or that instances run on, with the numbers of '
    'their instances and slots, and the latest three of the others in each region.';
