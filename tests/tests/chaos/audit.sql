-- The history of instances, slots, users in line and fences, in the order of the commits.
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
    silent_ms  bigint,
    drain_cause text
);

CREATE TABLE audit.slots (
    seq         bigserial PRIMARY KEY,
    at          timestamptz NOT NULL,
    id          text NOT NULL,
    instance_id text NOT NULL,
    region      text NOT NULL,
    status      text,
    user_before text,
    user_id     text,
    session_id  text
);

-- Answers to users: who got a slot, and who was refused. An answer is decided some time before it is
-- committed, so the counts are of the whole time in which that may have been: those that are most
-- favourable to the answer.
CREATE TABLE audit.turns (
    seq       bigserial PRIMARY KEY,
    at        timestamptz NOT NULL,
    region    text NOT NULL,
    user_id   text NOT NULL,
    is_served boolean NOT NULL,
    -- Users who were refused before this one and still ask: the most for a refusal, the fewest otherwise.
    ahead     bigint NOT NULL,
    -- Free slots, with the one that the user got: the fewest for a refusal, the most otherwise.
    free      bigint NOT NULL,
    is_barred boolean NOT NULL
);
CREATE INDEX turns_user ON audit.turns (user_id, region, at);

-- Users whose place in line was given up: they were served here or elsewhere, or had left.
CREATE TABLE audit.left_line (
    at       timestamptz NOT NULL,
    region   text NOT NULL,
    user_id  text NOT NULL,
    first_at timestamptz NOT NULL
);
CREATE INDEX left_line_at ON audit.left_line (region, at);

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
        (at, region, id, status, notice, occupied, silent_ms, drain_cause)
    SELECT clock_timestamp(), host.region, host.id, NEW.status, host.notice,
        (SELECT count(*) FROM slots s WHERE s.instance_id = host.id AND s.status <> 'WAITING'),
        (SELECT extract(epoch FROM clock_timestamp() - h.beat_at) * 1000 FROM heartbeats h
         WHERE h.instance_id = host.id),
        host.drain_cause;
    RETURN NULL;
END
$$;

-- All images are of one commit. A user is not ahead whose refusal may not have been visible to the other.
-- Changes of slots and of instances are in their own lists; what changes by time alone is counted here:
-- places in line, cool-downs, and heartbeats.
CREATE FUNCTION audit.note_turn(
    region text, user_id text, is_served boolean, first_at timestamptz, is_barred boolean)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    -- An answer is decided up to this time before it is committed: users wait for locks meanwhile.
    deciding CONSTANT interval := '3 seconds';
    until CONSTANT timestamptz := clock_timestamp();
    since CONSTANT timestamptz := until - deciding;
BEGIN
    INSERT INTO audit.turns (at, region, user_id, is_served, ahead, free, is_barred)
    SELECT until, r.name, note_turn.user_id, note_turn.is_served,
        CASE WHEN note_turn.is_served THEN (
            SELECT count(*) FROM waiting_users w
            WHERE w.region = r.name AND w.user_id <> note_turn.user_id
                AND w.last_at >= until - make_interval(secs => r.line_seconds)
                AND w.first_at < note_turn.first_at - deciding
                AND (w.barred_until IS NULL OR w.barred_until <= since)
                AND NOT EXISTS (SELECT FROM audit.turns t
                    WHERE t.user_id = w.user_id AND t.region = w.region AND t.at >= since
                        AND t.is_barred))
        ELSE (
            SELECT count(DISTINCT a.user_id) FROM (
                SELECT w.user_id FROM waiting_users w
                WHERE w.region = r.name AND w.first_at < note_turn.first_at
                    AND w.last_at >= since - make_interval(secs => r.line_seconds)
                UNION ALL
                SELECT l.user_id FROM audit.left_line l
                WHERE l.region = r.name AND l.first_at < note_turn.first_at AND l.at >= since
            ) a
            WHERE a.user_id <> note_turn.user_id)
        END,
        (SELECT count(*) FROM slots s
         JOIN instances i ON i.id = s.instance_id
         JOIN heartbeats h ON h.instance_id = i.id
         JOIN images m ON m.region = r.name AND m.image_id = i.image_id
            AND m.state IN ('CURRENT', 'BAKING')
         WHERE s.region = r.name AND s.status = 'WAITING' AND i.status = 'ACTIVE'
            AND CASE WHEN note_turn.is_served
                THEN h.beat_at >= since - make_interval(secs => r.heartbeat_seconds)
                ELSE h.beat_at >= until - make_interval(secs => r.heartbeat_seconds)
                    AND (h.resumed_at IS NULL OR h.resumed_at <= since)
                    AND (s.free_from IS NULL OR s.free_from <= since)
                    AND i.notice IS DISTINCT FROM 'INTERRUPTION'
                END)
            + note_turn.is_served::integer,
        note_turn.is_barred
    FROM regions r WHERE r.name = note_turn.region;
END
$$;

CREATE FUNCTION audit.note_waiting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit.note_turn(
        NEW.region, NEW.user_id, false, NEW.first_at, NEW.barred_until IS NOT NULL);
    RETURN NULL;
END
$$;

CREATE FUNCTION audit.note_left() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit.left_line (at, region, user_id, first_at)
    VALUES (clock_timestamp(), OLD.region, OLD.user_id, OLD.first_at);
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
    INSERT INTO audit.slots
        (at, id, instance_id, region, status, user_before, user_id, session_id)
    VALUES (clock_timestamp(), slot.id, slot.instance_id, slot.region, NEW.status, OLD.user_id,
        NEW.user_id, NEW.session_id);
    -- A slot that is given back to its session was not free.
    IF OLD.status = 'WAITING' AND NEW.status = 'ALLOCATED'
        AND NEW.allocated_at = NEW.first_allocated_at
    THEN
        PERFORM audit.note_turn(NEW.region, NEW.user_id, true,
            NEW.allocated_at - make_interval(secs => NEW.waited_seconds), false);
    END IF;
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
CREATE CONSTRAINT TRIGGER audit_waiting AFTER INSERT OR UPDATE ON waiting_users
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit.note_waiting();
CREATE CONSTRAINT TRIGGER audit_fences AFTER INSERT OR UPDATE ON region_fences
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit.note_fence();
