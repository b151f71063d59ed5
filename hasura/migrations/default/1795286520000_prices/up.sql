-- Prices, what machine time has cost, and budgets.
--
-- The operator loads the prices: nothing is asked of EC2. What has no price is unknown, and is never counted
-- as nothing.

CREATE TABLE prices (
    region        text NOT NULL,
    instance_type text NOT NULL,
    -- ON_DEMAND or SPOT. A spot price is what the operator expects to pay: EC2's changes all the time.
    market        text NOT NULL,
    -- The first day, in UTC, on which it holds: until the day of the next price.
    valid_from    date NOT NULL DEFAULT '2000-01-01',
    per_hour      numeric NOT NULL,
    -- ISO 4217. All prices of a region have one currency.
    currency      text NOT NULL DEFAULT 'USD',
    PRIMARY KEY (region, instance_type, market, valid_from),
    CONSTRAINT prices_region_not_blank CHECK (region <> ''),
    CONSTRAINT prices_instance_type_a_type CHECK (instance_type ~ '^[a-z0-9-]+\.[a-z0-9-]+$'),
    CONSTRAINT prices_market_on_demand_or_spot CHECK (market IN ('ON_DEMAND', 'SPOT')),
    CONSTRAINT prices_valid_from_2000_to_9998 CHECK (valid_from BETWEEN '2000-01-01' AND '9998-12-31'),
    CONSTRAINT prices_per_hour_0_to_100000 CHECK (per_hour BETWEEN 0 AND 100000),
    CONSTRAINT prices_currency_three_capitals CHECK (currency ~ '^[A-Z]{3}$')
);

CREATE FUNCTION internal.check_price() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    other text;
BEGIN
    SELECT p.currency INTO other FROM prices p
    WHERE p.region = NEW.region AND p.currency <> NEW.currency LIMIT 1;
    IF other IS NOT NULL THEN
        RAISE EXCEPTION 'prices_one_currency_in_a_region: % has prices in %, and this one is in %: delete '
            'them first, or convert it', NEW.region, other, NEW.currency
            USING ERRCODE = 'check_violation', CONSTRAINT = 'prices_one_currency_in_a_region';
    END IF;
    RETURN NULL;
END
$$;
-- After all rows of a statement are there, so that one may change the currency of all.
CREATE TRIGGER prices_have_one_currency AFTER INSERT OR UPDATE ON prices
    FOR EACH ROW EXECUTE FUNCTION internal.check_price();

ALTER TABLE regions
    ADD COLUMN monthly_budget integer,
    ADD COLUMN limit_to_budget boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT regions_monthly_budget_positive CHECK (monthly_budget > 0);
COMMENT ON COLUMN regions.monthly_budget IS
    'what the region''s instances may cost in a calendar month in UTC, in the currency of its prices; '
    'null: no budget';
COMMENT ON COLUMN regions.limit_to_budget IS
    'true: nothing is launched in the rest of a month whose budget is spent';

-- Machine time of an hour by what it costs. It belongs to the hour's figures, and goes with them.
CREATE TABLE machine_hours (
    region        text NOT NULL,
    hour          timestamptz NOT NULL,
    instance_type text NOT NULL,
    -- UNKNOWN: nobody has recorded how the instance was bought.
    market        text NOT NULL,
    seconds       double precision NOT NULL,
    PRIMARY KEY (region, hour, instance_type, market),
    FOREIGN KEY (region, hour) REFERENCES usage_hours (region, hour) ON DELETE CASCADE,
    CONSTRAINT machine_hours_market_known CHECK (market IN ('ON_DEMAND', 'SPOT', 'UNKNOWN'))
);

-- The machine time of an hour, or of a part of it: what usage_hours.machine_seconds sums up.
CREATE FUNCTION internal.machines_of(region text, since timestamptz, until timestamptz)
RETURNS TABLE (instance_type text, market text, seconds double precision)
LANGUAGE sql STABLE AS $$
    SELECT l.instance_type,
        CASE l.spot WHEN true THEN 'SPOT' WHEN false THEN 'ON_DEMAND' ELSE 'UNKNOWN' END,
        sum(date_part('epoch', least(l.gone_at, machines_of.until)
            - greatest(l.launched_at, machines_of.since)))
    FROM (
        SELECT h.instance_type, h.spot, h.launched_at, h.gone_at FROM instance_history h
        WHERE h.region = machines_of.region AND h.gone_at > machines_of.since
        UNION ALL
        SELECT i.instance_type, i.spot, i.launched_at, 'infinity' FROM instances i
        WHERE i.region = machines_of.region
    ) l
    WHERE l.launched_at < machines_of.until
    GROUP BY 1, 2
$$;

-- Whoever counts an hour counts its machines with it.
CREATE FUNCTION internal.count_machines() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO machine_hours (region, hour, instance_type, market, seconds)
    SELECT NEW.region, NEW.hour, m.instance_type, m.market, m.seconds
    FROM internal.machines_of(NEW.region, NEW.hour, NEW.hour + interval '1 hour') m;
    RETURN NULL;
END
$$;

-- The hours that were counted before: the rows that they were counted from are kept as long as they are.
INSERT INTO machine_hours (region, hour, instance_type, market, seconds)
SELECT u.region, u.hour, m.instance_type, m.market, m.seconds
FROM usage_hours u
CROSS JOIN LATERAL internal.machines_of(u.region, u.hour, u.hour + interval '1 hour') m
WHERE u.machine_seconds > 0;

CREATE TRIGGER usage_hours_count_machines AFTER INSERT ON usage_hours
    FOR EACH ROW EXECUTE FUNCTION internal.count_machines();

-- What machine time has cost, for each day in UTC.
CREATE TABLE day_costs (
    region           text NOT NULL,
    day              date NOT NULL,
    -- Null if the region has no prices.
    currency         text,
    -- Of the time that has a price; null if there is machine time and none of it has.
    cost             double precision,
    machine_seconds  double precision NOT NULL,
    -- Of these, the time without a price: [{"instance_type", "market", "seconds"}].
    unpriced_seconds double precision NOT NULL,
    unpriced         jsonb NOT NULL,
    -- Hours that no pass has counted, and that nobody will: their machine time is unknown, too.
    uncounted_hours  integer NOT NULL,
    CONSTRAINT day_costs_only_a_shape CHECK (false)
);

CREATE FUNCTION internal.costs_of(region text, from_day date, to_day date, at timestamptz)
RETURNS SETOF day_costs
LANGUAGE sql STABLE
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
    WITH bounds AS (
        SELECT greatest(from_day::timestamp AT TIME ZONE 'UTC',
                (SELECT date_bin('1 hour', r.created_at, 'epoch') FROM regions r
                 WHERE r.name = costs_of.region)) AS since,
            least(to_day::timestamp AT TIME ZONE 'UTC', costs_of.at) AS until,
            -- Passes count the hours of two days.
            date_bin('1 hour', costs_of.at - interval '2 days', 'epoch') AS counted_until
    ), time AS MATERIALIZED (
        SELECT m.hour, m.instance_type, m.market, m.seconds
        FROM bounds b, machine_hours m
        WHERE m.region = costs_of.region AND m.hour >= b.since AND m.hour < b.until
        UNION ALL
        -- The current hour until now, and those that the next passes count.
        SELECT h.hour, m.instance_type, m.market, m.seconds
        FROM bounds b
        CROSS JOIN generate_series(greatest(b.since, b.counted_until), b.until, interval '1 hour')
            AS h (hour)
        CROSS JOIN LATERAL internal.machines_of(
            costs_of.region, h.hour, least(h.hour + interval '1 hour', costs_of.at)) m
        WHERE h.hour < b.until AND NOT EXISTS (SELECT FROM usage_hours u
            WHERE u.region = costs_of.region AND u.hour = h.hour)
    ), kinds AS (
        SELECT (t.hour AT TIME ZONE 'UTC')::date AS day, t.instance_type, t.market,
            sum(t.seconds) AS seconds
        FROM time t GROUP BY 1, 2, 3
    ), priced AS (
        SELECT k.*, (
            SELECT p.per_hour FROM prices p
            WHERE p.region = costs_of.region AND p.instance_type = k.instance_type
                AND p.market = k.market AND p.valid_from <= k.day
            ORDER BY p.valid_from DESC LIMIT 1)::double precision AS per_hour
        FROM kinds k
    ), days AS (
        SELECT p.day, sum(p.seconds / 3600 * p.per_hour) AS cost, sum(p.seconds) AS seconds,
            coalesce(sum(p.seconds) FILTER (WHERE p.per_hour IS NULL), 0) AS unpriced_seconds,
            coalesce(jsonb_agg(jsonb_build_object('instance_type', p.instance_type,
                'market', p.market, 'seconds', p.seconds) ORDER BY p.instance_type, p.market)
                FILTER (WHERE p.per_hour IS NULL), '[]') AS unpriced
        FROM priced p GROUP BY 1
    ), counted AS (
        SELECT (u.hour AT TIME ZONE 'UTC')::date AS day, count(*) AS hours
        FROM bounds b, usage_hours u
        WHERE u.region = costs_of.region AND u.hour >= b.since AND u.hour < b.counted_until GROUP BY 1
    )
    SELECT costs_of.region, d.day,
        (SELECT p.currency FROM prices p WHERE p.region = costs_of.region LIMIT 1),
        CASE WHEN c.day IS NULL THEN 0 ELSE c.cost END,
        coalesce(c.seconds, 0), coalesce(c.unpriced_seconds, 0), coalesce(c.unpriced, '[]'),
        (greatest(0, date_part('epoch', least(d.until, b.counted_until) - greatest(d.since, b.since)) / 3600)
            - coalesce(n.hours, 0))::integer
    FROM bounds b
    CROSS JOIN LATERAL (
        SELECT g::date AS day, g AT TIME ZONE 'UTC' AS since,
            (g + interval '1 day') AT TIME ZONE 'UTC' AS until
        FROM generate_series(date_trunc('day', b.since AT TIME ZONE 'UTC'),
            b.until AT TIME ZONE 'UTC' - interval '1 microsecond', interval '1 day') AS g
    ) d
    LEFT JOIN days c ON c.day = d.day
    LEFT JOIN counted n ON n.day = d.day
$$;

CREATE FUNCTION list_costs(region text, from_day date, to_day date) RETURNS SETOF day_costs
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF list_costs.to_day > list_costs.from_day + 92 THEN
        RAISE EXCEPTION 'list_costs: the time must not be longer than 92 days'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY
    SELECT c.* FROM regions r
    CROSS JOIN LATERAL internal.costs_of(
        r.name, list_costs.from_day, list_costs.to_day, internal.clock()) c
    WHERE list_costs.region IS NULL OR r.name = list_costs.region
    ORDER BY c.region, c.day;
END
$$;
COMMENT ON FUNCTION list_costs IS
    'What the machine time of a region (null: of each) has cost, for each day in UTC from one until '
    'before another, 92 at most; today until now. Time without a price is named, and not counted as '
    'nothing.';

-- What the region's instances have cost this month, for its passes; null without prices.
CREATE FUNCTION internal.spending(region text, at timestamptz) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('currency', min(c.currency), 'month', coalesce(sum(c.cost), 0),
        'today', coalesce(sum(c.cost) FILTER (WHERE c.day = m.today), 0),
        'unpriced_seconds', coalesce(sum(c.unpriced_seconds), 0),
        'uncounted_hours', coalesce(sum(c.uncounted_hours), 0),
        'until', (m.first + interval '1 month') AT TIME ZONE 'UTC')
    FROM (
        SELECT (spending.at AT TIME ZONE 'UTC')::date AS today,
            date_trunc('month', spending.at AT TIME ZONE 'UTC') AS first
    ) m
    CROSS JOIN LATERAL internal.costs_of(spending.region, m.first::date, m.today + 1, spending.at) c
    WHERE EXISTS (SELECT FROM prices p WHERE p.region = spending.region)
    GROUP BY m.first
$$;

ALTER TABLE region_views ADD COLUMN spending jsonb;

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
        CASE WHEN r.algorithm = 'adaptive' THEN internal.flow(r.name, c.now) END,
        internal.spending(r.name, c.now)
    FROM regions r CROSS JOIN clock c WHERE r.name = observe_region.region
$$;
COMMENT ON FUNCTION observe_region IS
    'A region''s settings with its schedules, the database''s time, the number of users in line who are '
    'demand of the region, its lines, the flow of its users where the algorithm is adaptive, what its '
    'instances have cost this month, and the client_sha of the environment''s app version.';
