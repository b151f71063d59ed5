-- Rules about how a row may change, which a CHECK constraint cannot express.

CREATE FUNCTION internal.touch() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

CREATE TRIGGER regions_touch BEFORE UPDATE ON regions
    FOR EACH ROW EXECUTE FUNCTION internal.touch();
CREATE TRIGGER instances_touch BEFORE UPDATE ON instances
    FOR EACH ROW EXECUTE FUNCTION internal.touch();
CREATE TRIGGER slots_touch BEFORE UPDATE ON slots
    FOR EACH ROW EXECUTE FUNCTION internal.touch();
CREATE TRIGGER images_touch BEFORE UPDATE ON images
    FOR EACH ROW EXECUTE FUNCTION internal.touch();

-- States only move forward, and TERMINATING is final: once it is committed, EC2 may
-- already have been told to terminate the instance. Instances that are lost or gone
-- move from ACTIVE to TERMINATING, because they cannot drain.
CREATE FUNCTION internal.instance_states_go_forward() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    states CONSTANT text[] := ARRAY['PRE_CONNECTION', 'ACTIVE', 'DRAINING', 'TERMINATING'];
BEGIN
    IF array_position(states, NEW.status) < array_position(states, OLD.status) THEN
        RAISE EXCEPTION 'instance %: status cannot change from % to %',
            OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'instances_states_go_forward',
                TABLE = 'instances';
    END IF;
    -- Row permissions of host agents depend on launch_id, and slots have a copy of
    -- the region.
    IF NEW.id <> OLD.id OR NEW.region <> OLD.region OR NEW.launch_id <> OLD.launch_id THEN
        RAISE EXCEPTION 'instance %: id, region and launch_id cannot be changed', OLD.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'instances_identity_is_fixed',
                TABLE = 'instances';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER instances_states_go_forward
    BEFORE UPDATE OF id, region, launch_id, status ON instances
    FOR EACH ROW EXECUTE FUNCTION internal.instance_states_go_forward();

CREATE FUNCTION internal.slot_takes_region() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    SELECT i.region INTO NEW.region FROM instances i WHERE i.id = NEW.instance_id;
    -- For an unknown instance, the foreign key's error is clearer than one about a
    -- null region.
    NEW.region := coalesce(NEW.region, '');
    RETURN NEW;
END
$$;

CREATE TRIGGER slots_take_region BEFORE INSERT OR UPDATE OF instance_id, region ON slots
    FOR EACH ROW EXECUTE FUNCTION internal.slot_takes_region();

CREATE FUNCTION internal.image_state_has_a_time() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state <> OLD.state THEN
        NEW.state_since := now();
        IF NEW.state <> 'FAILED' THEN
            NEW.reason := NULL;
        END IF;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER images_state_has_a_time BEFORE UPDATE OF state ON images
    FOR EACH ROW EXECUTE FUNCTION internal.image_state_has_a_time();
