DROP TABLE region_wakeups, region_fences, waiting_users, app_versions, images, slots, heartbeats,
    instances, regions;
DROP SCHEMA internal;
