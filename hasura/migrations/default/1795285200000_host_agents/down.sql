DROP FUNCTION replace_slot(uuid, json);
DROP FUNCTION report_slot(uuid, text, json);
DROP FUNCTION claim_slot(uuid, text, text, json);
DROP FUNCTION internal.own_slot_host(uuid, json);
DROP FUNCTION heartbeat(text, json);
DROP FUNCTION register_host(text, text, json);
DROP FUNCTION internal.beat(text);
DROP FUNCTION internal.launch_of(json);
DROP TABLE agent_answers;
