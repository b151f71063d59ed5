-- What the seven requests read and write: the fleet as Whist's service keeps it, where an instance's
-- remaining capacity is a column. The names begin with `seven_`, because the project's own tables are
-- in the same database. Each request has an index.

CREATE TABLE seven_images (
    region     text NOT NULL,
    image_id   text NOT NULL,
    client_sha text NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (region, image_id)
);

CREATE TABLE seven_instances (
    id                 text PRIMARY KEY,
    region             text NOT NULL,
    image_id           text NOT NULL,
    client_sha         text NOT NULL,
    ip_addr            text NOT NULL,
    status             text NOT NULL,
    remaining_capacity integer NOT NULL,
    updated_at         timestamptz NOT NULL
);
CREATE INDEX seven_instances_with_capacity ON seven_instances (region, status, remaining_capacity)
    WHERE remaining_capacity > 0;

CREATE TABLE seven_mandelboxes (
    id          uuid PRIMARY KEY,
    instance_id text NOT NULL REFERENCES seven_instances (id) ON DELETE CASCADE,
    user_id     text,
    session_id  text,
    status      text NOT NULL,
    updated_at  timestamptz NOT NULL
);
CREATE INDEX seven_mandelboxes_of_instance ON seven_mandelboxes (instance_id, status);
CREATE INDEX seven_mandelboxes_of_user ON seven_mandelboxes (user_id);
