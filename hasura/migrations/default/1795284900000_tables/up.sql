-- The state that Postgres holds: settings of each region, the instances and
-- their slots, images, app versions, demand that was refused, and the fences.
--
-- All of it is in `public`, which the GraphQL engine exposes to the
-- administrator. Helpers that no client may call are in `internal`.
CREATE SCHEMA internal;

-- One row for each region: the unit of scaling, configuration and locking.
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
    -- in order of preference. Only its shape is checked here: what an entry
    -- means is the launching code's to say, with an error that names the field.
    launch_choices     jsonb NOT NULL,
    -- Group ids, or {"key", "value"} tags to find them by.
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
    -- Instances beyond max_instances that an upgrade may add while both images run.
    upgrade_surge      integer NOT NULL DEFAULT 0,
    -- An upgrade that is not warm by then has failed.
    upgrade_seconds    integer NOT NULL DEFAULT 9000,
    -- A new image becomes current as soon as it is warm, whatever the app version names.
    swap_when_warm     boolean NOT NULL DEFAULT false,
    -- How long the image before stays ready for a way back.
    bake_seconds       integer NOT NULL DEFAULT 1800,
    -- Users still on a retired image after that are reported; null never does.
    old_image_seconds  integer,
    -- Of the algorithm `replica`: what is null here comes from the functions' environment.
    replica_capacity            integer,
    replica_min_available       integer,
    replica_api_protocol        text,
    replica_api_port            integer,
    replica_api_path            text,
    replica_api_capacity_key    text,
    replica_api_termination_key text,
    -- A question to a replica takes so long at most.
    replica_api_seconds         integer,
    -- Delete replicas that are superfluous and report their full capacity.
    replica_trim                boolean,
    -- Replace replicas that give no word for so long.
    replica_unknown_seconds     integer,
    -- One that runs and gives no answer yet counts as being created for so long.
    replica_boot_seconds        integer,
    -- KEY=VALUE, the tag of the Elastic IPs that healthy replicas carry.
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
    -- Else an instance would count as free while it is given up for lost.
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
COMMENT ON COLUMN regions.scale_up_step IS 'instances launched in one pass at most; 0 is no bound';
COMMENT ON COLUMN regions.scale_down_step IS 'instances drained in one pass at most; 0 is no bound';

-- One row for each virtual machine; the id is EC2's.
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
    -- Since when listings do not show it any more; null while they do.
    missing_since  timestamptz,
    -- What EC2 said that it is about to do: REBALANCE, a recommendation to move on, or
    -- INTERRUPTION, a warning two minutes ahead. Null while it said nothing.
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
    -- Users are sent to the address, so nothing is assigned without one.
    CONSTRAINT instances_active_has_address CHECK (status <> 'ACTIVE' OR ip_addr IS NOT NULL)
);
-- A region's instances in the order in which passes page through them.
CREATE INDEX instances_region_id ON instances (region, id);
CREATE INDEX instances_launch_id ON instances (launch_id);

-- Beats are a table of their own, so that a beat rewrites two columns and no
-- index, and so that ages never come from `updated_at`.
CREATE TABLE heartbeats (
    instance_id text PRIMARY KEY REFERENCES instances (id) ON DELETE CASCADE,
    beat_at     timestamptz NOT NULL,
    -- When it was heard of again after a silence; null while there was none.
    resumed_at  timestamptz
) WITH (fillfactor = 50);

-- One user's place on an instance.
CREATE TABLE slots (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    instance_id  text NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    -- The instance's, copied by a trigger when the slot is made: an index can
    -- then lead to a region's free slots without a visit to every full
    -- instance. An instance never changes its region.
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
    -- Without the time, a slot that nobody claims would never be released.
    CONSTRAINT slots_allocated_has_a_time CHECK (status <> 'ALLOCATED' OR allocated_at IS NOT NULL)
) WITH (fillfactor = 80);
CREATE INDEX slots_instance_id ON slots (instance_id, status);
-- The way to a free slot: small, because most slots are occupied.
CREATE INDEX slots_free ON slots (region, instance_id) WHERE status = 'WAITING';
-- A repeated request finds its slot here, a user's limit is counted here, and
-- no (user, session) ever holds two.
CREATE UNIQUE INDEX slots_one_per_session ON slots (user_id, session_id)
    WHERE status IN ('ALLOCATED', 'CONNECTING', 'RUNNING');
CREATE INDEX slots_unclaimed ON slots (region, allocated_at) WHERE status = 'ALLOCATED';

-- What instances boot from. Served are CURRENT and BAKING ones. A new one is
-- WARMING until it takes the place of the CURRENT one, which then is BAKING for
-- a while, in case of a way back, and RETIRED after that.
CREATE TABLE images (
    region     text NOT NULL REFERENCES regions (name),
    image_id   text NOT NULL,
    provider   text NOT NULL DEFAULT 'aws',
    client_sha text NOT NULL,
    state      text NOT NULL,
    -- When it came into this state: deadlines count from here.
    state_since timestamptz NOT NULL DEFAULT now(),
    -- Why it FAILED.
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

-- The app that users of an environment should run.
CREATE TABLE app_versions (
    environment text PRIMARY KEY,
    version     text NOT NULL,
    client_sha  text NOT NULL
);

-- Users refused for want of capacity: demand, until served or forgotten. One
-- row for each user and session, so that no row is one that all queue for.
CREATE TABLE waiting_users (
    user_id    text NOT NULL,
    session_id text NOT NULL,
    region     text NOT NULL,
    first_at   timestamptz NOT NULL,
    last_at    timestamptz NOT NULL,
    PRIMARY KEY (user_id, session_id)
);
CREATE INDEX waiting_users_region ON waiting_users (region, last_at);

-- The highest lock version that a pass announced. Every write of a pass holds
-- this row and is refused under an older one. No foreign key: a region that is
-- deleted and made again must not accept a holder of before.
CREATE TABLE region_fences (
    region  text PRIMARY KEY,
    version bigint NOT NULL,
    -- When a pass last looked, and since when passes have looked without a long gap: an
    -- agent's silence counts from then on only, because nobody could hear it before.
    last_pass_at  timestamptz,
    watched_since timestamptz
);

-- A row says: this region's free slots fell below its target within these two
-- seconds. Inserts fire an event trigger; the key makes a thousand assigns one
-- event.
CREATE TABLE region_wakeups (
    region text NOT NULL,
    bucket timestamptz NOT NULL,
    PRIMARY KEY (region, bucket)
);
