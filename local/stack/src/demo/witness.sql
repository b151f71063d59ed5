-- What became of each session, noted in the transaction in which it happened: the demonstration's
-- own, in a schema that the service does not know.
CREATE SCHEMA demo;

CREATE TABLE demo.sessions (
    slot_id     uuid NOT NULL,
    user_id     text NOT NULL,
    session_id  text NOT NULL,
    instance_id text NOT NULL,
    client_sha  text NOT NULL,
    -- Null while it lasts; then 'over', 'cut off' (it ended with its instance), or 'released'
    -- (nobody claimed it).
    ended       text,
    PRIMARY KEY (slot_id, user_id, session_id)
);

CREATE FUNCTION demo.note_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.user_id IS NULL AND NEW.user_id IS NOT NULL THEN
        INSERT INTO demo.sessions
        SELECT NEW.id, NEW.user_id, NEW.session_id, i.id, i.client_sha
        FROM instances i WHERE i.id = NEW.instance_id;
    ELSIF OLD.status IN ('ALLOCATED', 'CONNECTING', 'RUNNING')
        AND (TG_OP = 'DELETE' OR NEW.status IN ('DYING', 'WAITING'))
    THEN
        UPDATE demo.sessions s
        SET ended = CASE
            -- An agent reports the end while its instance lives; the service does when that is
            -- given up.
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
