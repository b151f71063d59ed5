DROP FUNCTION note_forecast(text, bigint, timestamptz, jsonb, timestamptz);
ALTER TABLE region_views DROP COLUMN lines;
ALTER TABLE region_statuses DROP COLUMN lines, DROP COLUMN no_capacity_until;

CREATE OR REPLACE FUNCTION observe_region(region text, environment text)
RETURNS SETOF region_views
LANGUAGE sql VOLATILE AS $$
    WITH clock AS MATERIALIZED (SELECT internal.clock() AS now)
    SELECT r.name,
        c.now,
        (SELECT count(*)::integer FROM waiting_users u
         WHERE u.region = r.name AND u.last_at >= c.now - interval '1 minute'),
        internal.watched_since(r.name, c.now),
        (SELECT v.client_sha FROM app_versions v WHERE v.environment = observe_region.environment),
        to_jsonb(r)
    FROM regions r CROSS JOIN clock c WHERE r.name = observe_region.region
$$;
COMMENT ON FUNCTION observe_region IS
    'A region''s settings, the database''s time, the number of users refused in the last minute, '
    'and the client_sha of the environment''s app version.';
CREATE OR REPLACE FUNCTION status_regions(environment text) RETURNS SETOF region_statuses
LANGUAGE sql VOLATILE AS $$
    SELECT r.name, r.enabled, r.paused, r.algorithm, r.created_at, now(),
        -- As a pass counts them.
        (SELECT count(*)::integer FROM waiting_users u
         WHERE u.region = r.name AND u.last_at >= now() - interval '1 minute'),
        f.version, f.last_pass_at,
        (SELECT v.client_sha FROM app_versions v WHERE v.environment = status_regions.environment),
        to_jsonb(r)
    FROM regions r LEFT JOIN region_fences f ON f.region = r.name
    ORDER BY r.name
$$;
COMMENT ON FUNCTION status_regions IS
    'All regions: settings, the database''s time, the number of users refused in the last minute, '
    'and when a pass last observed the region.';

DROP FUNCTION internal.lines(text, timestamptz);
DROP FUNCTION internal.demand(text, timestamptz);
DROP FUNCTION internal.in_line(text, timestamptz);
