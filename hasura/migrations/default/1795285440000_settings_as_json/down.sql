-- The columns of settings come back, after the others.
ALTER TABLE region_statuses DROP COLUMN settings,
    ADD COLUMN target_free integer NOT NULL,
    ADD COLUMN max_instances integer NOT NULL,
    ADD COLUMN scale_up_step integer NOT NULL,
    ADD COLUMN scale_down_step integer NOT NULL,
    ADD COLUMN heartbeat_seconds integer NOT NULL,
    ADD COLUMN lost_seconds integer NOT NULL,
    ADD COLUMN upgrade_surge integer NOT NULL,
    ADD COLUMN upgrade_seconds integer NOT NULL,
    ADD COLUMN swap_when_warm boolean NOT NULL,
    ADD COLUMN bake_seconds integer NOT NULL;

CREATE OR REPLACE FUNCTION status_regions(environment text) RETURNS SETOF region_statuses
LANGUAGE sql VOLATILE AS $$
    SELECT r.name, r.enabled, r.paused, r.algorithm, r.created_at, now(),
        (SELECT count(DISTINCT u.user_id)::integer FROM waiting_users u
         WHERE u.region = r.name AND u.last_at >= now() - interval '1 minute'),
        f.version, f.last_pass_at,
        (SELECT v.client_sha FROM app_versions v WHERE v.environment = status_regions.environment),
        r.target_free, r.max_instances, r.scale_up_step, r.scale_down_step,
        r.heartbeat_seconds, r.lost_seconds, r.upgrade_surge, r.upgrade_seconds,
        r.swap_when_warm, r.bake_seconds
    FROM regions r LEFT JOIN region_fences f ON f.region = r.name
    ORDER BY r.name
$$;

ALTER TABLE region_views DROP COLUMN settings,
    ADD COLUMN enabled boolean NOT NULL,
    ADD COLUMN paused boolean NOT NULL,
    ADD COLUMN algorithm text NOT NULL,
    ADD COLUMN target_free integer NOT NULL,
    ADD COLUMN max_instances integer NOT NULL,
    ADD COLUMN scale_up_step integer NOT NULL,
    ADD COLUMN scale_down_step integer NOT NULL,
    ADD COLUMN launch_choices jsonb NOT NULL,
    ADD COLUMN security_groups jsonb NOT NULL,
    ADD COLUMN instance_profile text,
    ADD COLUMN user_data_template text,
    ADD COLUMN heartbeat_seconds integer NOT NULL,
    ADD COLUMN lost_seconds integer NOT NULL,
    ADD COLUMN claim_seconds integer NOT NULL,
    ADD COLUMN boot_seconds integer NOT NULL,
    ADD COLUMN drain_seconds integer NOT NULL,
    ADD COLUMN missing_seconds integer NOT NULL,
    ADD COLUMN orphan_seconds integer NOT NULL,
    ADD COLUMN upgrade_surge integer NOT NULL,
    ADD COLUMN upgrade_seconds integer NOT NULL,
    ADD COLUMN swap_when_warm boolean NOT NULL,
    ADD COLUMN bake_seconds integer NOT NULL,
    ADD COLUMN old_image_seconds integer,
    ADD COLUMN replica_capacity integer,
    ADD COLUMN replica_min_available integer,
    ADD COLUMN replica_api_protocol text,
    ADD COLUMN replica_api_port integer,
    ADD COLUMN replica_api_path text,
    ADD COLUMN replica_api_capacity_key text,
    ADD COLUMN replica_api_termination_key text,
    ADD COLUMN replica_api_seconds integer,
    ADD COLUMN replica_trim boolean,
    ADD COLUMN replica_unknown_seconds integer,
    ADD COLUMN replica_boot_seconds integer,
    ADD COLUMN replica_address_tag text;

CREATE OR REPLACE FUNCTION observe_region(region text, environment text)
RETURNS SETOF region_views
LANGUAGE sql VOLATILE AS $$
    SELECT r.name,
        now(),
        (SELECT count(DISTINCT u.user_id)::integer FROM waiting_users u
         WHERE u.region = r.name AND u.last_at >= now() - interval '1 minute'),
        internal.watched_since(r.name),
        (SELECT v.client_sha FROM app_versions v WHERE v.environment = observe_region.environment),
        r.enabled, r.paused, r.algorithm, r.target_free, r.max_instances, r.scale_up_step,
        r.scale_down_step, r.launch_choices, r.security_groups, r.instance_profile,
        r.user_data_template, r.heartbeat_seconds, r.lost_seconds, r.claim_seconds,
        r.boot_seconds, r.drain_seconds, r.missing_seconds, r.orphan_seconds, r.upgrade_surge,
        r.upgrade_seconds, r.swap_when_warm, r.bake_seconds, r.old_image_seconds,
        r.replica_capacity, r.replica_min_available, r.replica_api_protocol,
        r.replica_api_port, r.replica_api_path, r.replica_api_capacity_key,
        r.replica_api_termination_key, r.replica_api_seconds, r.replica_trim,
        r.replica_unknown_seconds, r.replica_boot_seconds, r.replica_address_tag
    FROM regions r WHERE r.name = observe_region.region
$$;
