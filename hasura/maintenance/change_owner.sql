-- Gives the service's schema, and Hasura's, to another user: for an installation whose Hasura connected
-- as a superuser so far. docs/hasura.md says when.
--
-- As a superuser, while Hasura is stopped:
--
--     psql … --single-transaction -v owner=hasura -f hasura/maintenance/change_owner.sql
--
-- What extensions made stays theirs.

\set ON_ERROR_STOP on

SELECT format('ALTER DATABASE %I OWNER TO %I', current_database(), :'owner') \gexec

WITH schemas AS (
    SELECT n.oid, n.nspname FROM pg_namespace n
    WHERE n.nspname IN ('public', 'internal', 'hdb_catalog')
), of_extensions AS (
    SELECT d.classid, d.objid FROM pg_depend d WHERE d.deptype = 'e'
)
SELECT format('ALTER SCHEMA %I OWNER TO %I', s.nspname, :'owner') FROM schemas s
UNION ALL
-- Indexes, and sequences of columns, go with their tables.
SELECT format('ALTER TABLE %s OWNER TO %I', c.oid::regclass, :'owner')
FROM pg_class c JOIN schemas s ON s.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm')
    AND NOT EXISTS (SELECT FROM of_extensions e
        WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid)
UNION ALL
SELECT format('ALTER SEQUENCE %s OWNER TO %I', c.oid::regclass, :'owner')
FROM pg_class c JOIN schemas s ON s.oid = c.relnamespace
WHERE c.relkind = 'S' AND NOT EXISTS (SELECT FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i', 'e'))
UNION ALL
SELECT format('ALTER ROUTINE %s OWNER TO %I', p.oid::regprocedure, :'owner')
FROM pg_proc p JOIN schemas s ON s.oid = p.pronamespace
WHERE NOT EXISTS (SELECT FROM of_extensions e
    WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid)
UNION ALL
SELECT format('ALTER TYPE %s OWNER TO %I', t.oid::regtype, :'owner')
FROM pg_type t JOIN schemas s ON s.oid = t.typnamespace
WHERE t.typtype IN ('e', 'd') AND NOT EXISTS (SELECT FROM of_extensions e
    WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid)
\gexec
