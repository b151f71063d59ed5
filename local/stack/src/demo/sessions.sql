-- Records how each session and each instance ended, in the transaction that ended it. The demonstration
-- owns this schema; the service does not use it.
CREATE SCHEMA demo;

CREATE TABLE demo.sessions (
    slot_id     uuid NOT NULL,
    user_id     text NOT NULL,
    session_id  text NOT NULL,
    instance_id text NOT NULL,
    client_sha  text NOT NULL,
    -- How long the user waited in line for the slot.
    waited_seconds double precision NOT NULL,
    -- When the user got the slot, and when the session ended.
    began_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at    timestamptz,
    -- Null while the session lasts. Then 'over', 'cut off' (the instance ended first), or 'released'
    -- (the user never claimed the slot).
    ended       text,
    PRIMARY KEY (slot_id, user_id, session_id)
);

-- Instances whose rows were deleted.
CREATE TABLE demo.instances (
    instance_id text PRIMARY KEY,
    gone_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE FUNCTION demo.note_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.user_id IS NULL AND NEW.user_id IS NOT NULL THEN
        INSERT INTO demo.sessions
        SELECT NEW.id, NEW.user_id, NEW.session_id, i.id, i.client_sha, NEW.waited_seconds
        FROM instances i WHERE i.id = NEW.instance_id;
    ELSIF OLD.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING')
        AND (TG_OP = 'DELETE' OR NEW.status IN ('DYING', 'WAITING'))
    THEN
        UPDATE demo.sessions s
        SET ended_at = clock_timestamp(), ended = CASE
            -- The host agent reports the end of a session while its instance lives. On an instance
            -- that is TERMINATING, the service ended the session.
            WHEN TG_OP = 'DELETE' OR EXISTS (SELECT FROM instances i
                WHERE i.id = OLD.instance_id AND i.status = 'TERMINATING') THEN 'cut off'
            WHEN NEW.status = 'DYING' THEN 'over'
            ELSE 'released'
        END
        WHERE (s.slot_id, s.user_id, s.session_id) = (OLD.id, OLD.user_id, OLD.session_id);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER demo_sessions AFTER UPDATE OR DELETE ON slots
    FOR EACH ROW EXECUTE FUNCTION demo.note_session();

CREATE FUNCTION demo.note_instance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO demo.instances (instance_id) VALUES (OLD.id);
    RETURN NULL;
END
$$;

CREATE TRIGGER demo_instances AFTER DELETE ON instances
    FOR EACH ROW EXECUTE FUNCTION demo.note_instance();
