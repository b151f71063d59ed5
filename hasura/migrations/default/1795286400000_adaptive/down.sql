-- Regions of the algorithm go on with a fixed buffer of their floor.
UPDATE regions SET algorithm = 'default' WHERE algorithm = 'adaptive';

ALTER TABLE region_views DROP COLUMN flow;

CREATE OR REPLACE FUNCTION observe_region(region text, environment text)
RETURNS SETOF region_views
LANGUAGE sql VOLATILE
SET jit = off
AS $$
    WITH clock AS MATERIALIZED (SELECT internal.clock() AS now)
    SELECT r.name, c.now, internal.demand(r.name, c.now), internal.watched_since(r.name, c.now),
        (SELECT v.client_sha FROM app_versions v WHERE v.environment = observe_region.environment),
        to_jsonb(r), internal.lines(r.name, c.now)
    FROM regions r CROSS JOIN clock c WHERE r.name = observe_region.region
$$;
COMMENT ON FUNCTION observe_region IS
    'A region''s settings, the database''s time, the number of users in line who are demand of the '
    'region, its lines, and the client_sha of the environment''s app version.';

CREATE OR REPLACE FUNCTION begin_pass(region text, version bigint) RETURNS SETOF pass_fences
LANGUAGE plpgsql AS $$
DECLARE
    in_force CONSTANT bigint := internal.raise_fence(begin_pass.region, begin_pass.version);
    -- The fence is held: nothing that it orders can commit between this time and the observation.
    began CONSTANT timestamptz := internal.clock();
BEGIN
    IF in_force = begin_pass.version THEN
        UPDATE region_fences f
        SET watched_since = internal.watched_since(begin_pass.region, began), last_pass_at = began
        WHERE f.region = begin_pass.region;
        PERFORM internal.prune(begin_pass.region);
    END IF;
    RETURN QUERY SELECT begin_pass.region, in_force, in_force = begin_pass.version;
END
$$;

DROP FUNCTION internal.tune_safety(text, timestamptz);
DROP FUNCTION internal.flow(text, timestamptz);
DROP FUNCTION internal.arrivals(text, timestamptz, timestamptz);
DROP TABLE internal.safety_factors;
ALTER TABLE regions
    DROP CONSTRAINT regions_target_ceiling_not_negative,
    DROP CONSTRAINT regions_stock_out_goal_10_to_100000,
    DROP COLUMN target_ceiling,
    DROP COLUMN stock_out_goal;
