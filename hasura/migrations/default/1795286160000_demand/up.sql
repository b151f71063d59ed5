-- Where users in line are demand, and what passes tell them.
--
-- A user is in the line of each region that could serve them, and demand in one of them: the first that
-- can launch. A region that can launch nothing says so, until a time: it is at its maximum, for example,
-- or EC2 has refused all of its choices.

-- Users in a region's lines who still ask.
CREATE FUNCTION internal.in_line(region text, at timestamptz) RETURNS SETOF waiting_users
LANGUAGE sql STABLE AS $$
    SELECT w.* FROM waiting_users w JOIN regions r ON r.name = w.region
    WHERE w.region = in_line.region
        AND w.last_at >= in_line.at - make_interval(secs => r.line_seconds)
$$;

-- Users in line who are demand of the region, and whom launches of its current image can serve. Only a
-- user's last request counts: nobody is demand twice, even with other regions or another client.
CREATE FUNCTION internal.demand(region text, at timestamptz) RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(g.users), 0)::integer
    FROM (
        SELECT w.regions, count(*) AS users
        FROM internal.in_line(demand.region, demand.at) w
        JOIN images m ON m.region = w.region AND m.state = 'CURRENT' AND m.client_sha = w.client_sha
        WHERE NOT EXISTS (
            SELECT FROM waiting_users later JOIN regions r ON r.name = later.region
            WHERE later.user_id = w.user_id AND later.last_at > w.last_at
                AND later.last_at >= demand.at - make_interval(secs => r.line_seconds))
        GROUP BY w.regions
    ) g
    WHERE internal.demand_region(g.regions, demand.at) = demand.region
$$;

-- A region's lines, wherever their users are demand, with what a forecast needs: how many sessions have
-- ended since a time and left their slot to the next user. A slot that replaced one is younger than its
-- instance's registration. Of a slot that was replaced twice, only the last time is known: so these are the
-- last ends of half of the slots at most, and no more than 20, within five minutes. Slots are read only if
-- there is a line.
CREATE FUNCTION internal.lines(region text, at timestamptz) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object(
        'client_sha', l.client_sha, 'users', l.users,
        'session_ends', least(e.most, cardinality(e.last)),
        'ends_since', coalesce(e.last[e.most], lines.at - interval '5 minutes')
        ) ORDER BY l.client_sha), '[]')
    FROM (
        SELECT w.client_sha, count(*) AS users FROM internal.in_line(lines.region, lines.at) w
        GROUP BY w.client_sha
    ) l
    CROSS JOIN LATERAL (
        SELECT greatest(1, least(20, count(*) / 2)) AS most,
            coalesce(array_agg(s.created_at ORDER BY s.created_at DESC) FILTER (
                WHERE s.created_at > i.active_at
                    AND s.created_at > lines.at - interval '5 minutes'), '{}') AS last
        FROM instances i JOIN slots s ON s.instance_id = i.id
        WHERE i.region = lines.region AND i.client_sha = l.client_sha AND i.status = 'ACTIVE'
    ) e
$$;

ALTER TABLE region_views ADD COLUMN lines jsonb NOT NULL;

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

ALTER TABLE region_statuses
    -- For each client hash: users, since when the first of them has been in line, and when the last of
    -- them may expect a slot.
    ADD COLUMN lines jsonb NOT NULL,
    -- Null if the region can launch, as far as is known.
    ADD COLUMN no_capacity_until timestamptz;

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

-- Nobody but passes writes these tables, one pass at a time: it waits for nobody.
CREATE FUNCTION note_forecast(
    region text, version bigint, made_at timestamptz, forecasts jsonb, none_until timestamptz)
RETURNS SETOF write_results
LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$
BEGIN
    IF internal.fenced(note_forecast.region, note_forecast.version) THEN
        RETURN QUERY SELECT note_forecast.region, 'FENCED';
        RETURN;
    END IF;
    WITH given AS (
        SELECT g.* FROM jsonb_to_recordset(note_forecast.forecasts)
            AS g (client_sha text, at timestamptz[], slots integer[])
    ), written AS (
        INSERT INTO internal.line_forecasts AS f (region, client_sha, made_at, at, slots)
        SELECT note_forecast.region, g.client_sha, note_forecast.made_at, g.at, g.slots FROM given g
        ON CONFLICT ON CONSTRAINT line_forecasts_pkey DO UPDATE SET
            made_at = excluded.made_at, at = excluded.at, slots = excluded.slots
    )
    DELETE FROM internal.line_forecasts f
    WHERE f.region = note_forecast.region
        AND NOT EXISTS (SELECT FROM given g WHERE g.client_sha = f.client_sha);
    IF note_forecast.none_until IS NULL THEN
        DELETE FROM internal.region_capacity c WHERE c.region = note_forecast.region;
    ELSE
        INSERT INTO internal.region_capacity AS c (region, none_until)
        VALUES (note_forecast.region, note_forecast.none_until)
        ON CONFLICT ON CONSTRAINT region_capacity_pkey DO UPDATE SET
            none_until = excluded.none_until;
    END IF;
    RETURN QUERY SELECT note_forecast.region, 'DONE';
EXCEPTION WHEN lock_not_available THEN
    RETURN QUERY SELECT * FROM internal.all_busy(ARRAY[note_forecast.region]);
END
$$;
COMMENT ON FUNCTION note_forecast IS
    'Replaces a region''s forecasts ([{client_sha, at: [..], slots: [..]}]: from at[n] on, slots[n] '
    'slots in all have become free since made_at), and until when the region can launch nothing (null: '
    'it can launch). DONE, BUSY, or FENCED.';
