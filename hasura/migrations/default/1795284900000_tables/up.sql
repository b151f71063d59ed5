-- The tables: settings of each region, instances and their slots, images, app
-- versions, waiting users, fences, and wake-ups.
--
-- They are in `public`, which the GraphQL engine exposes to the administrator.
-- Helper functions that clients must not call are in `internal`.

-- Older versions would accept the migrations and fail at the first assign that wakes a region.
DO $$
BEGIN
    IF current_setting('server_version_num')::integer < 140000 THEN
        RAISE EXCEPTION 'PostgreSQL % is too old: the service needs version 14 or newer (date_bin)',
            current_setting('server_version')
            USING ERRCODE = 'feature_not_supported',
                HINT = 'Upgrade the database, then apply the migrations again.';
    END IF;
END
$$;

CREATE SCHEMA internal;

-- One row per region: the unit of scaling, configuration, and locking.
CREATE TABLE regions (
    name               text PRIMARY KEY,
    enabled            boolean NOT NULL DEFAULT true,
    paused             boolean NOT NULL DEFAULT false,
    algorithm          text NOT NULL DEFAULT 'default',
    target_free        integer NOT NULL,
    max_instances      integer NOT NULL,
    scale_up_step      integer NOT NULL DEFAULT 1,
    scale_down_step    integer NOT NULL DEFAULT 1,
    -- [{"instance_type", "capacity", "subnet_id" | "subnet_tag": {"key", "value"}}],
    -- in order of preference. Only the JSON type is checked here. The launching code
    -- validates the entries, with an error that names the field.
    launch_choices     jsonb NOT NULL,
    -- Security group ids, or {"key", "value"} tags that select them.
    security_groups    jsonb NOT NULL DEFAULT '[]',
    instance_profile   text,
    user_data_template text,
    heartbeat_seconds  integer NOT NULL DEFAULT 90,
    lost_seconds       integer NOT NULL DEFAULT 600,
    claim_seconds      integer NOT NULL DEFAULT 90,
    boot_seconds       integer NOT NULL DEFAULT 600,
    drain_seconds      integer NOT NULL DEFAULT 600,
    missing_seconds    integer NOT NULL DEFAULT 300,
    orphan_seconds     integer NOT NULL DEFAULT 600,
    -- Surge: instances above max_instances that an upgrade may add while two images run.
    upgrade_surge      integer NOT NULL DEFAULT 0,
    -- An upgrade whose image is not warm within this time fails.
    upgrade_seconds    integer NOT NULL DEFAULT 9000,
    -- A new image becomes current as soon as it is warm, even if the app version names
    -- another client_sha.
    swap_when_warm     boolean NOT NULL DEFAULT false,
    -- How long the previous image keeps its buffer, so that a rollback is immediate.
    bake_seconds       integer NOT NULL DEFAULT 1800,
    -- Users who are still on a retired image after this time are reported. Null: never.
    old_image_seconds  integer,
    -- Settings of the algorithm `replica`. Where a column is null, the functions'
    -- environment variable applies.
    replica_capacity            integer,
    replica_min_available       integer,
    replica_api_protocol        text,
    replica_api_port            integer,
    replica_api_path            text,
    replica_api_capacity_key    text,
    replica_api_termination_key text,
    -- Timeout of one status request to a replica.
    replica_api_seconds         integer,
    -- Whether to delete surplus replicas that report their full capacity as free.
    replica_trim                boolean,
    -- Replicas that have not answered for this time are replaced.
    replica_unknown_seconds     integer,
    -- A running replica that has not answered yet counts as being created for this time.
    replica_boot_seconds        integer,
    -- KEY=VALUE: the tag of the Elastic IPs to associate with healthy replicas.
    replica_address_tag         text,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT regions_name_not_blank CHECK (name <> ''),
    CONSTRAINT regions_target_free_not_negative CHECK (target_free >= 0),
    CONSTRAINT regions_max_instances_not_negative CHECK (max_instances >= 0),
    CONSTRAINT regions_scale_up_step_not_negative CHECK (scale_up_step >= 0),
    CONSTRAINT regions_scale_down_step_not_negative CHECK (scale_down_step >= 0),
    CONSTRAINT regions_launch_choices_is_an_array CHECK (jsonb_typeof(launch_choices) = 'array'),
    CONSTRAINT regions_security_groups_is_an_array CHECK (jsonb_typeof(security_groups) = 'array'),
    CONSTRAINT regions_heartbeat_seconds_positive CHECK (heartbeat_seconds > 0),
    -- Otherwise slots of an instance could count as free while it is terminated as lost.
    CONSTRAINT regions_lost_after_silent CHECK (lost_seconds > heartbeat_seconds),
    CONSTRAINT regions_claim_seconds_positive CHECK (claim_seconds > 0),
    CONSTRAINT regions_boot_seconds_positive CHECK (boot_seconds > 0),
    CONSTRAINT regions_drain_seconds_positive CHECK (drain_seconds > 0),
    CONSTRAINT regions_missing_seconds_positive CHECK (missing_seconds > 0),
    CONSTRAINT regions_orphan_seconds_positive CHECK (orphan_seconds > 0),
    CONSTRAINT regions_upgrade_surge_not_negative CHECK (upgrade_surge >= 0),
    CONSTRAINT regions_upgrade_seconds_positive CHECK (upgrade_seconds > 0),
    CONSTRAINT regions_bake_seconds_positive CHECK (bake_seconds > 0),
    CONSTRAINT regions_old_image_seconds_positive CHECK (old_image_seconds > 0),
    CONSTRAINT regions_replica_capacity_positive CHECK (replica_capacity > 0),
    CONSTRAINT regions_replica_min_available_not_negative CHECK (replica_min_available >= 0),
    CONSTRAINT regions_replica_api_protocol_known CHECK (replica_api_protocol IN ('http', 'https')),
    CONSTRAINT regions_replica_api_port_a_port CHECK (replica_api_port BETWEEN 1 AND 65535),
    CONSTRAINT regions_replica_api_path_from_root CHECK (replica_api_path LIKE '/%'),
    CONSTRAINT regions_replica_api_seconds_positive CHECK (replica_api_seconds > 0),
    CONSTRAINT regions_replica_unknown_seconds_positive CHECK (replica_unknown_seconds > 0),
    CONSTRAINT regions_replica_boot_seconds_positive CHECK (replica_boot_seconds > 0),
    CONSTRAINT regions_replica_address_tag_key_equals_value CHECK (replica_address_tag LIKE '_%=_%')
);
COMMENT ON COLUMN regions.scale_up_step IS
    'maximum number of instances launched in one pass; 0 means no limit';
COMMENT ON COLUMN regions.scale_down_step IS
    'maximum number of instances drained in one pass; 0 means no limit';

-- One row per virtual machine. The id is EC2's.
CREATE TABLE instances (
    id             text PRIMARY KEY,
    provider       text NOT NULL DEFAULT 'aws',
    region         text NOT NULL REFERENCES regions (name),
    launch_id      text NOT NULL,
    image_id       text NOT NULL,
    client_sha     text NOT NULL,
    instance_type  text NOT NULL,
    capacity       integer NOT NULL,
    ip_addr        text,
    status         text NOT NULL DEFAULT 'PRE_CONNECTION',
    launched_at    timestamptz NOT NULL,
    active_at      timestamptz,
    draining_since timestamptz,
    -- Since when EC2's listings have not contained the instance. Null while they do.
    missing_since  timestamptz,
    -- EC2's latest Spot notice: REBALANCE (a recommendation to replace the instance) or
    -- INTERRUPTION (EC2 takes it in two minutes). Null without a notice.
    notice         text,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT instances_notice_known CHECK (notice IN ('REBALANCE', 'INTERRUPTION')),
    CONSTRAINT instances_id_not_blank CHECK (id <> ''),
    CONSTRAINT instances_launch_id_not_blank CHECK (launch_id <> ''),
    CONSTRAINT instances_capacity_positive CHECK (capacity > 0),
    CONSTRAINT instances_status_known
        CHECK (status IN ('PRE_CONNECTION', 'ACTIVE', 'DRAINING', 'TERMINATING')),
    CONSTRAINT instances_ip_addr_not_blank CHECK (ip_addr <> ''),
    -- Users connect to this address, so an ACTIVE instance must have one.
    CONSTRAINT instances_active_has_address CHECK (status <> 'ACTIVE' OR ip_addr IS NOT NULL)
);
-- Passes page through a region's instances in this order.
CREATE INDEX instances_region_id ON instances (region, id);
CREATE INDEX instances_launch_id ON instances (launch_id);

-- Heartbeats have a table of their own, so that a heartbeat rewrites two columns
-- and no index, and so that ages are never computed from `updated_at`.
CREATE TABLE heartbeats (
    instance_id text PRIMARY KEY REFERENCES instances (id) ON DELETE CASCADE,
    beat_at     timestamptz NOT NULL,
    -- When heartbeats last resumed after a gap longer than heartbeat_seconds. Null
    -- without such a gap.
    resumed_at  timestamptz
) WITH (fillfactor = 50);

-- One user's place on an instance.
CREATE TABLE slots (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    instance_id  text NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    -- Copied from the instance by a trigger. The index `slots_free` then finds a
    -- region's free slots without visiting every full instance. The copy stays
    -- valid because an instance never changes its region.
    region       text NOT NULL,
    user_id      text,
    session_id   text,
    status       text NOT NULL DEFAULT 'WAITING',
    allocated_at timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT slots_status_known
        CHECK (status IN ('WAITING', 'ALLOCATED', 'CONNECTING', 'RUNNING', 'DYING')),
    CONSTRAINT slots_user_exactly_when_occupied CHECK ((user_id IS NULL) = (status = 'WAITING')),
    CONSTRAINT slots_session_exactly_when_occupied
        CHECK ((session_id IS NULL) = (status = 'WAITING')),
    -- Without this time, a slot that is never claimed would never be released.
    CONSTRAINT slots_allocated_has_a_time CHECK (status <> 'ALLOCATED' OR allocated_at IS NOT NULL)
) WITH (fillfactor = 80);
CREATE INDEX slots_instance_id ON slots (instance_id, status);
-- Finds free slots. The index is small, because most slots are occupied.
CREATE INDEX slots_free ON slots (region, instance_id) WHERE status = 'WAITING';
-- Finds the slot of a repeated request, counts a user's slots against the limit,
-- and ensures that a (user, session) never holds two slots.
CREATE UNIQUE INDEX slots_one_per_session ON slots (user_id, session_id)
    WHERE status IN ('ALLOCATED', 'CONNECTING', 'RUNNING');
CREATE INDEX slots_unclaimed ON slots (region, allocated_at) WHERE status = 'ALLOCATED';

-- The images that instances boot from. Users are assigned to CURRENT and BAKING
-- images. A new image is WARMING until it replaces the CURRENT one. The replaced
-- image is BAKING for `bake_seconds`, so that a rollback is immediate, and then
-- RETIRED.
CREATE TABLE images (
    region     text NOT NULL REFERENCES regions (name),
    image_id   text NOT NULL,
    provider   text NOT NULL DEFAULT 'aws',
    client_sha text NOT NULL,
    state      text NOT NULL,
    -- When the image entered this state. Deadlines are measured from here.
    state_since timestamptz NOT NULL DEFAULT now(),
    -- Why the image FAILED.
    reason     text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (region, image_id),
    CONSTRAINT images_image_id_not_blank CHECK (image_id <> ''),
    CONSTRAINT images_client_sha_not_blank CHECK (client_sha <> ''),
    CONSTRAINT images_state_known
        CHECK (state IN ('WARMING', 'CURRENT', 'BAKING', 'RETIRED', 'FAILED'))
);
CREATE UNIQUE INDEX images_one_current_per_region ON images (region) WHERE state = 'CURRENT';

-- The app version that users of an environment should run.
CREATE TABLE app_versions (
    environment text PRIMARY KEY,
    version     text NOT NULL,
    client_sha  text NOT NULL
);

-- Users who were refused for lack of capacity. They count as demand until they are
-- served or their rows are deleted. One row per user and session, so that requests
-- do not all contend for one row.
CREATE TABLE waiting_users (
    user_id    text NOT NULL,
    session_id text NOT NULL,
    region     text NOT NULL,
    first_at   timestamptz NOT NULL,
    last_at    timestamptz NOT NULL,
    PRIMARY KEY (user_id, session_id)
);
CREATE INDEX waiting_users_region ON waiting_users (region, last_at);

-- The highest lock version that a pass has announced (the fence). Every write of a
-- pass locks this row and is refused if the pass has an older version. There is no
-- foreign key: a region that is deleted and created again must not accept a lock
-- holder from before.
CREATE TABLE region_fences (
    region  text PRIMARY KEY,
    version bigint NOT NULL,
    -- When a pass last observed the region, and since when passes have observed it
    -- without a long gap. Missing heartbeats count only from `watched_since` on,
    -- because none could be recorded during the gap.
    last_pass_at  timestamptz,
    watched_since timestamptz
);

-- A row means that a pass should run for the region: its free slots fell below the
-- target, or a user was refused, within this bucket of two seconds. Inserts fire an
-- event trigger. The primary key reduces a thousand assigns to one event.
CREATE TABLE region_wakeups (
    region text NOT NULL,
    bucket timestamptz NOT NULL,
    PRIMARY KEY (region, bucket)
);
