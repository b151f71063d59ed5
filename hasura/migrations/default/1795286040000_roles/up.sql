-- What `doctor` reads of Hasura's metadata, with the role of `reconcile`: nobody but people has the admin
-- secret, which Hasura's own metadata API needs.
--
-- Only what is judged is returned. The source may have the database's password in its URL, and the
-- metadata of another tool in the same database is nobody's business.
--
-- `metadata` is null where Hasura keeps it in another database (HASURA_GRAPHQL_METADATA_DATABASE_URL),
-- or out of reach.
CREATE FUNCTION doctor_metadata() RETURNS SETOF doctor_facts
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF to_regclass('hdb_catalog.hdb_metadata') IS NULL
        OR to_regclass('hdb_catalog.hdb_version') IS NULL
    THEN
        RETURN QUERY SELECT '{"metadata": null}'::jsonb;
        RETURN;
    END IF;
    RETURN QUERY EXECUTE $query$
        WITH stored AS (
            SELECT m.metadata::jsonb AS it FROM hdb_catalog.hdb_metadata m WHERE m.id = 1
        ), source AS (
            SELECT s.it, s.it #> '{configuration,connection_info}' AS connection
            FROM stored, jsonb_array_elements(stored.it -> 'sources') s (it)
            WHERE s.it ->> 'name' = 'default'
        ), tables AS (
            SELECT t.it, t.it #>> '{table,name}' AS name
            FROM source, jsonb_array_elements(source.it -> 'tables') t (it)
            WHERE t.it #>> '{table,schema}' = 'public'
        ), grants AS (
            SELECT v.verb || ' ' || t.name || ' ' || (p.it ->> 'role') AS given
            FROM tables t
            CROSS JOIN (VALUES ('select'), ('insert'), ('update'), ('delete')) v (verb)
            CROSS JOIN jsonb_array_elements(t.it -> (v.verb || '_permissions')) p (it)
            UNION ALL
            SELECT 'function ' || (f.it #>> '{function,name}') || ' ' || (p.it ->> 'role')
            FROM source
            CROSS JOIN jsonb_array_elements(source.it -> 'functions') f (it)
            CROSS JOIN jsonb_array_elements(f.it -> 'permissions') p (it)
        ), triggers AS (
            SELECT jsonb_build_object(
                'name', e.it ->> 'name',
                'url_from', e.it ->> 'webhook_from_env',
                'secret_from', (
                    SELECT h.it ->> 'value_from_env' FROM jsonb_array_elements(e.it -> 'headers') h (it)
                    WHERE h.it ->> 'name' = 'x-event-secret' LIMIT 1)) AS trigger
            FROM tables t, jsonb_array_elements(t.it -> 'event_triggers') e (it)
        ), documents AS (
            SELECT q.it ->> 'name' AS name, q.it ->> 'query' AS text
            FROM stored
            CROSS JOIN jsonb_array_elements(stored.it -> 'allowlist') a (it)
            CROSS JOIN jsonb_array_elements(stored.it -> 'query_collections') c (it)
            CROSS JOIN jsonb_array_elements(c.it #> '{definition,queries}') q (it)
            WHERE c.it ->> 'name' = a.it ->> 'collection'
                AND coalesce((a.it #>> '{scope,global}')::boolean, true)
        )
        SELECT jsonb_build_object('metadata', jsonb_build_object(
            'source', (
                SELECT jsonb_build_object(
                    'isolation_level', s.connection -> 'isolation_level',
                    'use_prepared_statements', s.connection -> 'use_prepared_statements',
                    'pool_settings', coalesce(s.connection -> 'pool_settings', '{}'))
                FROM source s),
            'grants', (SELECT coalesce(jsonb_agg(g.given ORDER BY g.given), '[]') FROM grants g),
            'triggers', (SELECT coalesce(jsonb_agg(t.trigger), '[]') FROM triggers t),
            'documents', (
                SELECT coalesce(jsonb_object_agg(d.name, d.text), '{}') FROM documents d),
            'migrations', (
                SELECT v.cli_state::jsonb #> '{migrations,default}' FROM hdb_catalog.hdb_version v
                LIMIT 1)))
    $query$;
EXCEPTION WHEN insufficient_privilege OR undefined_column THEN
    RETURN QUERY SELECT '{"metadata": null}'::jsonb;
END
$$;
COMMENT ON FUNCTION doctor_metadata IS
    'What Hasura''s metadata says: connections, roles, event triggers, the allow list and migrations.';
