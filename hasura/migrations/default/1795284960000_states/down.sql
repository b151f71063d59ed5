DROP TRIGGER slots_take_region ON slots;
DROP TRIGGER instances_states_go_forward ON instances;
DROP TRIGGER images_touch ON images;
DROP TRIGGER slots_touch ON slots;
DROP TRIGGER instances_touch ON instances;
DROP TRIGGER regions_touch ON regions;
DROP FUNCTION internal.slot_takes_region();
DROP FUNCTION internal.instance_states_go_forward();
DROP FUNCTION internal.touch();
