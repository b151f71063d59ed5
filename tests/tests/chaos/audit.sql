-- The history of instances, slots and fences, in the order of the commits.
--
-- The triggers are deferred to the end of their transaction: they record the state that is about
-- to be committed, and no transaction that saw it comes earlier in the list.
CREATE SCHEMA audit;

CREATE TABLE audit.instances (
    seq        bigserial PRIMARY KEY,
    at         timestamptz NOT NULL,
    region     text NOT NULL,
    id         text NOT NULL,
    -- Null once the row is deleted.
    status     text,
    notice     text,
    occupied   bigint NOT NULL,
    -- Since the last heartbeat; null if there was none.
    silent_ms  bigint
);

CREATE TABLE audit.slots (
    seq         bigserial PRIMARY KEY,
    at          timestamptz NOT NULL,
    id          text NOT NULL,
    instance_id text NOT NULL,
    status      text,
    user_before text,
    user_id     text,
    session_id  text
);

CREATE TABLE audit.fences (
    seq     bigserial PRIMARY KEY,
    at      timestamptz NOT NULL,
    region  text NOT NULL,
    version_before bigint,
    version bigint NOT NULL
);

CREATE FUNCTION audit.note_instance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    host instances := coalesce(NEW, OLD);
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.status = OLD.status THEN
        RETURN NULL;
    END IF;
    INSERT INTO audit.instances
        (at, region, id, status, notice, occupied, silent_ms)
    SELECT clock_timestamp(), host.region, host.id, NEW.status, host.notice,
        (SELECT count(*) FROM slots s WHERE s.instance_id = host.id AND s.status <> 'WAITING'),
        (SELECT extract(epoch FROM clock_timestamp() - h.beat_at) * 1000 FROM heartbeats h
         WHERE h.instance_id = host.id);
    RETURN NULL;
END
$$;

CREATE FUNCTION audit.note_slot() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    slot slots := coalesce(NEW, OLD);
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.status = OLD.status
        AND NEW.user_id IS NOT DISTINCT FROM OLD.user_id
        AND NEW.session_id IS NOT DISTINCT FROM OLD.session_id
    THEN
        RETURN NULL;
    END IF;
    INSERT INTO audit.slots (at, id, instance_id, status, user_before, user_id, session_id)
    VALUES (clock_timestamp(), slot.id, slot.instance_id, NEW.status, OLD.user_id, NEW.user_id,
        NEW.session_id);
    RETURN NULL;
END
$$;

CREATE FUNCTION audit.note_fence() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.version IS DISTINCT FROM OLD.version THEN
        INSERT INTO audit.fences (at, region, version_before, version)
        VALUES (clock_timestamp(), NEW.region, OLD.version, NEW.version);
    END IF;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER audit_instances AFTER INSERT OR UPDATE OR DELETE ON instances
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit.note_instance();
CREATE CONSTRAINT TRIGGER audit_slots AFTER INSERT OR UPDATE OR DELETE ON slots
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit.note_slot();
CREATE CONSTRAINT TRIGGER audit_fences AFTER INSERT OR UPDATE ON region_fences
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit.note_fence();
