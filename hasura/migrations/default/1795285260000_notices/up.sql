-- What EC2's events say of an instance. Not a pass's: an event is written down
-- whoever holds the region's lock, and the pass that it wakes acts on it.

-- An interruption is the last word; a recommendation that comes after it, or
-- twice, changes nothing.
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
    'Notes that EC2 is about to take an instance. DONE, ALREADY, WRONG_STATE (on its way out), or '
    'UNKNOWN.';
