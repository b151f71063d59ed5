-- Spot notices from EC2's events. This write does not use the fence: a notice is
-- recorded no matter which pass holds the region's lock, and the pass that the event
-- triggers acts on it.

-- An interruption is final. A recommendation that arrives after it, or a repeated
-- notice, changes nothing.
CREATE FUNCTION give_notice(instance_id text, notice text) RETURNS SETOF write_results
LANGUAGE plpgsql AS $$
DECLARE
    host instances;
BEGIN
    IF coalesce(give_notice.notice, '') NOT IN ('REBALANCE', 'INTERRUPTION') THEN
        RAISE EXCEPTION 'give_notice: notice must be REBALANCE or INTERRUPTION, not %',
            coalesce(give_notice.notice, 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT i.* INTO host FROM instances i WHERE i.id = give_notice.instance_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT give_notice.instance_id, 'UNKNOWN';
    ELSIF host.status = 'TERMINATING' THEN
        RETURN QUERY SELECT host.id, 'WRONG_STATE';
    ELSIF host.notice = give_notice.notice OR host.notice = 'INTERRUPTION' THEN
        RETURN QUERY SELECT host.id, 'ALREADY';
    ELSE
        UPDATE instances i SET notice = give_notice.notice WHERE i.id = host.id;
        RETURN QUERY SELECT host.id, 'DONE';
    END IF;
END
$$;
COMMENT ON FUNCTION give_notice IS
    'Records a Spot notice: EC2 is about to take an instance. DONE, ALREADY, WRONG_STATE (the '
    'instance is TERMINATING), or UNKNOWN.';
