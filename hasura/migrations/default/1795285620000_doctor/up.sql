-- What `doctor` reads of the database, for the administrator only. Nothing is changed.

CREATE TABLE doctor_facts (
    facts jsonb NOT NULL,
    CONSTRAINT doctor_facts_only_a_shape CHECK (false)
);

-- The version, the clock, and what the migrations and Hasura made.
CREATE FUNCTION doctor() RETURNS SETOF doctor_facts
LANGUAGE sql VOLATILE AS $$
    WITH triggers AS (
        SELECT c.relname || '.' || t.tgname AS name, t.tgenabled = 'D' AS disabled
        FROM pg_trigger t
        JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = 'public'::regnamespace AND t.tgname LIKE 'notify\_hasura\_%'
    )
    SELECT jsonb_build_object(
        'version_num', current_setting('server_version_num')::integer,
        'now', clock_timestamp(),
        'max_connections', current_setting('max_connections')::integer,
        'functions', (
            SELECT coalesce(jsonb_agg(DISTINCT p.proname), '[]') FROM pg_proc p
            WHERE p.pronamespace = 'public'::regnamespace),
        'region_columns', (
            SELECT coalesce(jsonb_agg(a.attname), '[]') FROM pg_attribute a
            WHERE a.attrelid = 'regions'::regclass AND a.attnum > 0 AND NOT a.attisdropped),
        'event_triggers', (SELECT coalesce(jsonb_agg(t.name), '[]') FROM triggers t),
        'disabled_triggers', (
            SELECT coalesce(jsonb_agg(t.name), '[]') FROM triggers t WHERE t.disabled)
    )
$$;
COMMENT ON FUNCTION doctor IS
    'What the database is and has: its version, clock, functions, settings and event triggers.';

-- Hasura's log of the last day, by event trigger; `events` is null where Hasura keeps it out of reach.
--
-- A function of its own, because it takes seconds where the log was never cleaned.
CREATE FUNCTION doctor_events() RETURNS SETOF doctor_facts
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF to_regclass('hdb_catalog.event_log') IS NULL
        OR to_regclass('hdb_catalog.event_invocation_logs') IS NULL
    THEN
        RETURN QUERY SELECT '{"events": null}'::jsonb;
        RETURN;
    END IF;
    RETURN QUERY EXECUTE $query$
        SELECT jsonb_build_object('events', coalesce(jsonb_agg(to_jsonb(summary)), '[]'))
        FROM (
            SELECT e.trigger_name AS trigger,
                count(*) FILTER (WHERE e.delivered) AS delivered,
                count(*) FILTER (WHERE NOT e.delivered AND NOT e.error
                    AND e.created_at < localtimestamp - interval '1 minute') AS overdue,
                count(*) FILTER (WHERE e.error) AS failed,
                (SELECT l.status FROM hdb_catalog.event_invocation_logs l
                 WHERE l.event_id = (array_agg(e.id ORDER BY e.created_at DESC)
                     FILTER (WHERE e.delivered OR e.tries > 0))[1]
                 ORDER BY l.created_at DESC LIMIT 1) AS last_status
            FROM hdb_catalog.event_log e
            WHERE e.schema_name = 'public' AND NOT e.archived
                AND e.created_at > localtimestamp - interval '1 day'
            GROUP BY e.trigger_name
        ) summary
    $query$;
EXCEPTION WHEN insufficient_privilege OR undefined_column THEN
    RETURN QUERY SELECT '{"events": null}'::jsonb;
END
$$;
COMMENT ON FUNCTION doctor_events IS
    'How many events of each event trigger Hasura delivered in the last day, and did not.';
