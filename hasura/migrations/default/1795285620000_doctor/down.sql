DROP FUNCTION doctor_events();
DROP FUNCTION doctor();
DROP TABLE doctor_facts;
