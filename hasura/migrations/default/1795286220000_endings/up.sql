-- Why a session is to end before its user ends it, and when at the latest.
ALTER TABLE slots
    ADD COLUMN end_cause text,
    -- The agent was told, and ends the session by then; null as long as nobody wants its end.
    ADD COLUMN end_by timestamptz,
    ADD CONSTRAINT slots_end_cause_known
        CHECK (end_cause IN ('USER', 'OPERATOR', 'LONGEST', 'IDLE', 'DRAIN', 'MAX_AGE'));
