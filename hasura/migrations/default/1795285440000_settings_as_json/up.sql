-- A region's settings as one JSON object: what a pass and the status page read of them is the whole
-- row of `regions`. A new setting then needs a column and nothing else here.

ALTER TABLE region_views
    DROP COLUMN enabled, DROP COLUMN paused, DROP COLUMN algorithm, DROP COLUMN target_free,
    DROP COLUMN max_instances, DROP COLUMN scale_up_step, DROP COLUMN scale_down_step,
    DROP COLUMN launch_choices, DROP COLUMN security_groups, DROP COLUMN instance_profile,
    DROP COLUMN user_data_template, DROP COLUMN heartbeat_seconds, DROP COLUMN lost_seconds,
    DROP COLUMN claim_seconds, DROP COLUMN boot_seconds, DROP COLUMN drain_seconds,
    DROP COLUMN missing_seconds, DROP COLUMN orphan_seconds, DROP COLUMN upgrade_surge,
    DROP COLUMN upgrade_seconds, DROP COLUMN swap_when_warm, DROP COLUMN bake_seconds,
    DROP COLUMN old_image_seconds, DROP COLUMN replica_capacity,
    DROP COLUMN replica_min_available, DROP COLUMN replica_api_protocol,
    DROP COLUMN replica_api_port, DROP COLUMN replica_api_path,
    DROP COLUMN replica_api_capacity_key, DROP COLUMN replica_api_termination_key,
    DROP COLUMN replica_api_seconds, DROP COLUMN replica_trim,
    DROP COLUMN replica_unknown_seconds, DROP COLUMN replica_boot_seconds,
    DROP COLUMN replica_address_tag,
    ADD COLUMN settings jsonb NOT NULL;

CREATE OR REPLACE FUNCTION observe_region(region text, environment text)
RETURNS SETOF region_views
LANGUAGE sql VOLATILE AS $$
    SELECT r.name,
        now(),
        -- Users, not requests: a user who tries again with another session is counted once.
        (SELECT count(DISTINCT u.user_id)::integer FROM waiting_users u
         WHERE u.region = r.name AND u.last_at >= now() - interval '1 minute'),
        internal.watched_since(r.name),
        (SELECT v.client_sha FROM app_versions v WHERE v.environment = observe_region.environment),
        to_jsonb(r)
    FROM regions r WHERE r.name = observe_region.region
$$;

ALTER TABLE region_statuses
    DROP COLUMN target_free, DROP COLUMN max_instances, DROP COLUMN scale_up_step,
    DROP COLUMN scale_down_step, DROP COLUMN heartbeat_seconds, DROP COLUMN lost_seconds,
    DROP COLUMN upgrade_surge, DROP COLUMN upgrade_seconds, DROP COLUMN swap_when_warm,
    DROP COLUMN bake_seconds,
    ADD COLUMN settings jsonb NOT NULL;

CREATE OR REPLACE FUNCTION status_regions(environment text) RETURNS SETOF region_statuses
LANGUAGE sql VOLATILE AS $$
    SELECT r.name, r.enabled, r.paused, r.algorithm, r.created_at, now(),
        -- As a pass counts them.
        (SELECT count(DISTINCT u.user_id)::integer FROM waiting_users u
         WHERE u.region = r.name AND u.last_at >= now() - interval '1 minute'),
        f.version, f.last_pass_at,
        (SELECT v.client_sha FROM app_versions v WHERE v.environment = status_regions.environment),
        to_jsonb(r)
    FROM regions r LEFT JOIN region_fences f ON f.region = r.name
    ORDER BY r.name
$$;
