-- Schedules: how many slots are to be free at hours that an operator names, for what no history knows.

CREATE TABLE schedules (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    region      text NOT NULL REFERENCES regions (name) ON DELETE CASCADE,
    -- On which days it begins: MON,TUE,WED,THU,FRI,SAT,SUN, or some of them.
    days        text NOT NULL DEFAULT 'MON,TUE,WED,THU,FRI,SAT,SUN',
    -- Until the next day, if it does not end after it begins. 24:00 is the end of the day.
    from_time   time NOT NULL,
    until_time  time NOT NULL,
    -- The place whose clocks, and whose dates, count.
    time_zone   text NOT NULL,
    -- FLOOR: no fewer than `slots` are to be free. FIXED: `slots` instead of target_free.
    kind        text NOT NULL DEFAULT 'FLOOR',
    slots       integer NOT NULL,
    -- The first and the last date on which it begins.
    valid_from  date,
    valid_until date,
    -- Who answers for it. The administrator's requests say nothing of who sends them.
    set_by      text NOT NULL,
    note        text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT schedules_days_are_mon_to_sun_with_commas CHECK (
        days ~ '^(MON|TUE|WED|THU|FRI|SAT|SUN)(,(MON|TUE|WED|THU|FRI|SAT|SUN)){0,6}$'),
    CONSTRAINT schedules_from_time_before_24_00 CHECK (from_time < '24:00'),
    CONSTRAINT schedules_until_time_is_not_from_time CHECK (until_time <> from_time),
    CONSTRAINT schedules_kind_floor_or_fixed CHECK (kind IN ('FLOOR', 'FIXED')),
    CONSTRAINT schedules_slots_0_to_100000 CHECK (slots BETWEEN 0 AND 100000),
    CONSTRAINT schedules_valid_from_2000_to_9998 CHECK (
        valid_from BETWEEN '2000-01-01' AND '9998-12-31'),
    CONSTRAINT schedules_valid_until_2000_to_9998 CHECK (
        valid_until BETWEEN '2000-01-01' AND '9998-12-31'),
    CONSTRAINT schedules_valid_until_not_before_valid_from CHECK (valid_until >= valid_from),
    CONSTRAINT schedules_set_by_1_to_200_characters CHECK (set_by <> '' AND length(set_by) <= 200),
    CONSTRAINT schedules_note_at_most_500_characters CHECK (length(note) <= 500)
);
CREATE INDEX schedules_region ON schedules (region);

-- The view of the time zones reads all of their files: a schedule is checked when it is written, not
-- by each pass. PostgreSQL also knows names that only it or this machine has.
CREATE FUNCTION internal.check_schedule() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_timezone_names z
        WHERE z.name = NEW.time_zone AND z.name !~ '^(posix|right)/'
            AND z.name NOT IN ('localtime', 'posixrules', 'Factory'))
    THEN
        RAISE EXCEPTION 'schedules_time_zone_known: "%" is not an IANA time zone: use a name such as '
            'Europe/Berlin, Asia/Kolkata or UTC', NEW.time_zone
            USING ERRCODE = 'check_violation', CONSTRAINT = 'schedules_time_zone_known';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER schedules_are_checked BEFORE INSERT OR UPDATE OF time_zone ON schedules
    FOR EACH ROW EXECUTE FUNCTION internal.check_schedule();
CREATE TRIGGER schedules_touch BEFORE UPDATE ON schedules
    FOR EACH ROW EXECUTE FUNCTION internal.touch();

-- A region's schedules that may still begin, or may not be over yet: dates are those of their zones.
CREATE FUNCTION internal.schedules_of(region text) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_agg(to_jsonb(s) - '{region,created_at,updated_at}'::text[] ORDER BY s.id), '[]')
    FROM schedules s
    WHERE s.region = schedules_of.region
        AND (s.valid_until IS NULL OR s.valid_until >= (now() AT TIME ZONE 'UTC')::date - 3)
$$;

-- As before, with the schedules beside the columns of the region's row.
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

CREATE OR REPLACE FUNCTION status_regions(environment text) RETURNS SETOF region_statuses
LANGUAGE sql VOLATILE AS $$
    SELECT r.name, r.enabled, r.paused, r.algorithm, r.created_at, now(),
        -- As a pass counts them.
        internal.demand(r.name, now()),
        f.version, f.last_pass_at,
        (SELECT v.client_sha FROM app_versions v WHERE v.environment = status_regions.environment),
        to_jsonb(r) || jsonb_build_object('schedules', internal.schedules_of(r.name)),
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
    'All regions: settings with their schedules, the database''s time, the number of users in line who '
    'are demand of the region, its lines with the estimate of the last place, until when it can launch '
    'nothing, and when a pass last observed the region.';
