DROP FUNCTION read_recorded_sessions(
    text, timestamptz, timestamptz, timestamptz, uuid, integer);
DROP TABLE recorded_sessions;
DROP FUNCTION read_recording(text, timestamptz, timestamptz);
DROP TABLE recorded_regions;
