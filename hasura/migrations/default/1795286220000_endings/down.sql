ALTER TABLE slots DROP CONSTRAINT slots_end_cause_known, DROP COLUMN end_by, DROP COLUMN end_cause;
