-- Deletes events of Hasura's event triggers that were delivered, or given up, more than a week ago,
-- with the logs of their requests: one batch of at most 10,000. Run it every ten minutes, by pg_cron,
-- psql or a cron trigger. Hasura's community edition never deletes them.
--
-- It is one statement, and it skips what others have locked, so it may run at any time, twice, and in
-- any client. Events that are still to be delivered are kept, however old they are.
WITH old AS MATERIALIZED (
    SELECT e.id FROM hdb_catalog.event_log e
    WHERE (e.delivered OR e.error) AND e.created_at < localtimestamp - interval '7 days'
    LIMIT 10000 FOR UPDATE SKIP LOCKED
), requests AS (
    DELETE FROM hdb_catalog.event_invocation_logs l USING old WHERE l.event_id = old.id
)
DELETE FROM hdb_catalog.event_log e USING old WHERE e.id = old.id;
