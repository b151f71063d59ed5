ALTER TABLE region_views DROP COLUMN spending;
CREATE OR REPLACE FUNCTION observe_region(region text, environment text)
RETURNS SETOF region_views
LANGUAGE sql VOLATILE
SET jit = off
AS $$
    WITH clock AS MATERIALIZED (SELECT internal.clock() AS now)
    SELECT r.name, c.now, internal.demand(r.name, c.now), internal.watched_since(r.name, c.now),
        (SELECT v.client_sha FROM app_versions v WHERE v.environment = observe_region.environment),
        to_jsonb(r) || jsonb_build_object('schedules', internal.schedules_of(r.name)),
        internal.lines(r.name, c.now),
        CASE WHEN r.algorithm = 'adaptive' THEN internal.flow(r.name, c.now) END
    FROM regions r CROSS JOIN clock c WHERE r.name = observe_region.region
$$;
COMMENT ON FUNCTION observe_region IS
    'A region''s settings with its schedules, the database''s time, the number of users in line who are '
    'demand of the region, its lines, the flow of its users where the algorithm is adaptive, and the '
    'client_sha of the environment''s app version.';

DROP FUNCTION internal.spending(text, timestamptz);
DROP FUNCTION list_costs(text, date, date);
DROP FUNCTION internal.costs_of(text, date, date, timestamptz);
DROP TABLE day_costs;
DROP TRIGGER usage_hours_count_machines ON usage_hours;
DROP FUNCTION internal.count_machines();
DROP FUNCTION internal.machines_of(text, timestamptz, timestamptz);
DROP TABLE machine_hours;
ALTER TABLE regions
    DROP CONSTRAINT regions_monthly_budget_positive,
    DROP COLUMN monthly_budget, DROP COLUMN limit_to_budget;
DROP TABLE prices;
DROP FUNCTION internal.check_price();
