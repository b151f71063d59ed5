DROP FUNCTION doctor_metadata();
