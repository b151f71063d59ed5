-- Stores changes until they are delivered, in a schema that GraphQL does not expose,
-- as Hasura does in `hdb_catalog`.
CREATE SCHEMA IF NOT EXISTS local_events;

CREATE TABLE IF NOT EXISTS local_events.event_log (
    id           text PRIMARY KEY DEFAULT gen_random_uuid()::text,
    seq          bigint GENERATED ALWAYS AS IDENTITY,
    schema_name  text NOT NULL,
    table_name   text NOT NULL,
    trigger_name text NOT NULL,
    payload      jsonb NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    state        text NOT NULL DEFAULT 'PENDING'
        CHECK (state IN ('PENDING', 'DELIVERED', 'FAILED', 'DROPPED')),
    -- Number of attempts with a recorded outcome.
    tries        integer NOT NULL DEFAULT 0,
    -- When an engine fetched the event, until its outcome is recorded. If the engine is killed, the
    -- event waits until this is old.
    locked_at    timestamptz,
    due_at       timestamptz NOT NULL DEFAULT now(),
    -- Whether a fault was applied. Each event gets at most one.
    disturbed    boolean NOT NULL DEFAULT false
);
CREATE INDEX IF NOT EXISTS event_log_due ON local_events.event_log (due_at, seq)
    WHERE state = 'PENDING';
CREATE INDEX IF NOT EXISTS event_log_seq ON local_events.event_log (seq);

-- Requests that were sent, and events that a fault dropped or delayed. If the process
-- dies before it records an attempt, the attempt is missing here. The same happens in
-- Hasura's own log.
CREATE TABLE IF NOT EXISTS local_events.deliveries (
    seq          bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    event_id     text NOT NULL,
    trigger_name text NOT NULL,
    -- The payload's `current_retry`.
    attempt      integer NOT NULL,
    -- 0 for the event itself, 1 and up for its duplicates, which a fault creates.
    copy         integer NOT NULL,
    outcome      text NOT NULL,
    status       integer,
    error        text,
    started_at   timestamptz NOT NULL,
    ended_at     timestamptz NOT NULL
);

-- CASCADE drops all triggers of an earlier start. The caller then creates those of
-- the metadata.
DROP FUNCTION IF EXISTS local_events.capture() CASCADE;

-- Hasura's `insert_event_log` does not expect the empty string that a setting has after the
-- transaction that set it: a change by SQL in a session that Hasura used before fails
-- (graphql-engine#7087, #8498).
CREATE OR REPLACE FUNCTION local_events.setting(name text) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT current_setting(name, true)::jsonb
$$;

-- The columns of a row that belong in the payload. All, if `columns` is null.
CREATE OR REPLACE FUNCTION local_events.carried(fields jsonb, columns jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN columns IS NULL THEN fields ELSE (
        SELECT jsonb_object_agg(key, value) FROM jsonb_each(fields) WHERE columns ? key
    ) END
$$;

CREATE OR REPLACE FUNCTION local_events.append(
    schema_name text, table_name text, trigger_name text, op text, before jsonb, after jsonb
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    event_id text;
BEGIN
    INSERT INTO local_events.event_log (schema_name, table_name, trigger_name, payload)
    VALUES (schema_name, table_name, trigger_name, jsonb_build_object(
        'op', op,
        'data', jsonb_build_object('old', before, 'new', after),
        -- Hasura calls this setting `hasura.user`.
        'session_variables', local_events.setting('hasura.session'),
        'trace_context', local_events.setting('hasura.tracecontext')
    )) RETURNING id INTO event_id;
    RETURN event_id;
END
$$;

-- Arguments: the event trigger's name and, unless the payload contains all columns, a
-- JSON array of its columns.
CREATE FUNCTION local_events.capture() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    columns jsonb := TG_ARGV[1]::jsonb;
BEGIN
    PERFORM local_events.append(
        TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_ARGV[0], TG_OP,
        local_events.carried(to_jsonb(OLD), columns),
        local_events.carried(to_jsonb(NEW), columns)
    );
    RETURN NULL;
END
$$;

-- Hasura's names for the same, as far as `doctor` reads them.
CREATE SCHEMA IF NOT EXISTS hdb_catalog;
CREATE OR REPLACE VIEW hdb_catalog.event_log AS
    SELECT id, schema_name, table_name, trigger_name, payload,
        state IN ('DELIVERED', 'DROPPED') AS delivered, state = 'FAILED' AS error, tries,
        created_at::timestamp AS created_at, false AS archived
    FROM local_events.event_log;
CREATE OR REPLACE VIEW hdb_catalog.event_invocation_logs AS
    SELECT seq::text AS id, trigger_name, event_id, status, started_at::timestamp AS created_at
    FROM local_events.deliveries;
