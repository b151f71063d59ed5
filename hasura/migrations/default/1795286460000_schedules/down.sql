CREATE OR REPLACE FUNCTION observe_region(region text, environment text)
RETURNS SETOF region_views
LANGUAGE sql VOLATILE
SET jit = off
AS $$
    WITH clock AS MATERIALIZED (SELECT internal.clock() AS now)
    SELECT r.name, c.now, internal.demand(r.name, c.now), internal.watched_since(r.name, c.now),
        (SELECT v.client_sha FROM app_versions v WHERE v.environment = observe_region.environment),
        to_jsonb(r), internal.lines(r.name, c.now),
        CASE WHEN r.algorithm = 'adaptive' THEN internal.flow(r.name, c.now) END
    FROM regions r CROSS JOIN clock c WHERE r.name = observe_region.region
$$;
COMMENT ON FUNCTION observe_region IS
    'A region''s settings, the database''s time, the number of users in line who are demand of the '
    'region, its lines, the flow of its users where the algorithm is adaptive, and the client_sha of '
    'the environment''s app version.';

CREATE OR REPLACE FUNCTION status_regions(environment text) RETURNS SETOF region_statuses
LANGUAGE sql VOLATILE AS $$
    SELECT r.name, r.enabled, r.paused, r.algorithm, r.created_at, now(),
        -- As a pass counts them.
        internal.demand(r.name, now()),
        f.version, f.last_pass_at,
        (SELECT v.client_sha FROM app_versions v WHERE v.environment = status_regions.environment),
        to_jsonb(r),
        (SELECT coalesce(jsonb_agg(jsonb_build_object(
                'client_sha', l.client_sha, 'users', l.users, 'first_at', l.first_at,
                'estimate_seconds', internal.estimate_of(r.name, l.client_sha, l.users::integer, now())
            ) ORDER BY l.client_sha), '[]')
         FROM (
            SELECT w.client_sha, count(*)::integer AS users, min(w.first_at) AS first_at
            FROM internal.in_line(r.name, now()) w GROUP BY w.client_sha
         ) l),
        (SELECT c.none_until FROM internal.region_capacity c
         WHERE c.region = r.name AND c.none_until > now())
    FROM regions r LEFT JOIN region_fences f ON f.region = r.name
    ORDER BY r.name
$$;
COMMENT ON FUNCTION status_regions IS
    'All regions: settings, the database''s time, the number of users in line who are demand of the '
    'region, its lines with the estimate of the last place, until when it can launch nothing, and when '
    'a pass last observed the region.';

DROP FUNCTION internal.schedules_of(text);
DROP TABLE schedules;
DROP FUNCTION internal.check_schedule();
