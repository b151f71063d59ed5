-- Settings that can never work are rejected when they are written, by the rules of
-- shared/src/settings. Which subnets and groups exist only EC2 knows: passes find that.
--
-- NOT VALID: a row that already breaks a rule does not make this migration fail. It stays as it is,
-- passes report it, and its next change has to correct it.
--
-- PostgreSQL checks constraints in the order of their names: `…_is_an_array` before `…_items_…`, which
-- may rely on it. A filter of a path looks into arrays, so that items and fields that are arrays have
-- to be rejected by their type.

ALTER TABLE regions
    ADD CONSTRAINT regions_launch_choices_items_at_most_64
        CHECK (jsonb_array_length(launch_choices) <= 64) NOT VALID,
    ADD CONSTRAINT regions_launch_choices_items_are_objects
        CHECK (NOT jsonb_path_exists(launch_choices, '$[*].type() ? (@ != "object")')) NOT VALID,
    ADD CONSTRAINT regions_launch_choices_items_have_no_arrays
        CHECK (NOT jsonb_path_exists(launch_choices, '$[*].*.type() ? (@ == "array")')) NOT VALID,
    ADD CONSTRAINT regions_launch_choices_items_have_known_fields
        CHECK (NOT jsonb_path_exists(launch_choices,
            '$[*] ? (@.type() == "object").keyvalue().key ? (!(@ == "instance_type"
                || @ == "capacity" || @ == "subnet_id" || @ == "subnet_tag" || @ == "spot"))'))
        NOT VALID,
    ADD CONSTRAINT regions_launch_choices_items_have_an_instance_type
        CHECK (NOT jsonb_path_exists(launch_choices,
            '$[*] ? (!exists(@.instance_type ? (@.type() == "string"
                && @ like_regex "^[a-z0-9-]+\\.[a-z0-9-]+$")))'))
        NOT VALID,
    -- Replicas have no slots: without a capacity theirs is replica_capacity.
    ADD CONSTRAINT regions_launch_choices_items_have_a_capacity
        CHECK (algorithm = 'replica'
            OR NOT jsonb_path_exists(launch_choices, '$[*] ? (!exists(@.capacity))'))
        NOT VALID,
    ADD CONSTRAINT regions_launch_choices_items_capacity_1_to_1000
        CHECK (NOT jsonb_path_exists(launch_choices,
            '$[*].capacity ? (@.type() != "number" || @ < 1 || @ > 1000 || @.floor() != @)'))
        NOT VALID,
    ADD CONSTRAINT regions_launch_choices_items_spot_is_a_boolean
        CHECK (NOT jsonb_path_exists(launch_choices, '$[*].spot ? (@.type() != "boolean")'))
        NOT VALID,
    -- A null counts as missing.
    ADD CONSTRAINT regions_launch_choices_items_have_one_subnet
        CHECK (NOT jsonb_path_exists(launch_choices,
            '$[*] ? ((exists(@.subnet_id ? (@ != null)) && exists(@.subnet_tag ? (@ != null)))
                || (!exists(@.subnet_id ? (@ != null)) && !exists(@.subnet_tag ? (@ != null))))'))
        NOT VALID,
    ADD CONSTRAINT regions_launch_choices_items_subnet_id_is_an_id
        CHECK (NOT jsonb_path_exists(launch_choices,
            '$[*].subnet_id ? (@ != null && !(@.type() == "string"
                && @ like_regex "^subnet-[0-9a-f]{8,17}$"))'))
        NOT VALID,
    -- EC2 reads * and ? as wildcards.
    ADD CONSTRAINT regions_launch_choices_items_subnet_tag_is_a_tag
        CHECK (NOT jsonb_path_exists(launch_choices,
            '$[*].subnet_tag ? (@ != null && !(@.type() == "object"
                && exists(@.key ? (@.type() == "string" && @ like_regex "^[^*?]{1,128}$" flag "s"))
                && exists(@.value ? (@.type() == "string" && @ like_regex "^[^*?]*$" flag "s"))))'))
        NOT VALID,
    ADD CONSTRAINT regions_security_groups_items_at_most_16
        CHECK (jsonb_array_length(security_groups) <= 16) NOT VALID,
    ADD CONSTRAINT regions_security_groups_items_are_ids_or_tags
        CHECK (NOT jsonb_path_exists(security_groups, '$[*].type() ? (@ == "array")')
            AND NOT jsonb_path_exists(security_groups,
            '$[*] ? (!((@.type() == "string" && @ like_regex "^sg-[0-9a-f]{8,17}$")
                || (@.type() == "object"
                    && exists(@.key ? (@.type() == "string" && @ like_regex "^[^*?]{1,128}$" flag "s"))
                    && exists(@.value ? (@.type() == "string" && @ like_regex "^[^*?]*$" flag "s")))))'))
        NOT VALID,
    ADD CONSTRAINT regions_instance_profile_is_a_name_or_an_arn
        CHECK (instance_profile = ''
            OR instance_profile ~ '^[A-Za-z0-9+=,.@_-]{1,128}$'
            OR instance_profile ~
                '^arn:aws[a-z-]*:iam::[0-9]{12}:instance-profile/(.*/)?[A-Za-z0-9+=,.@_-]{1,128}$')
        NOT VALID,
    -- $${ is a literal ${, so it is taken out first.
    ADD CONSTRAINT regions_user_data_template_has_known_placeholders
        CHECK (replace(user_data_template, '$${', '') !~
            '\$\{(?!(REGION|LAUNCH_ID|CAPACITY|CLIENT_SHA|HASURA_URL|AGENT_TOKEN)\})')
        NOT VALID,
    ADD CONSTRAINT regions_user_data_template_has_a_token
        CHECK (user_data_template = '' OR algorithm = 'replica'
            OR replace(user_data_template, '$${', '') LIKE '%${AGENT\_TOKEN}%')
        NOT VALID,
    ADD CONSTRAINT regions_user_data_template_of_replicas_has_no_token
        CHECK (algorithm <> 'replica'
            OR replace(user_data_template, '$${', '') !~ '\$\{(HASURA_URL|AGENT_TOKEN)\}')
        NOT VALID,
    -- Of what EC2 accepts, before any placeholder is filled.
    ADD CONSTRAINT regions_user_data_template_within_16_kb
        CHECK (octet_length(regexp_replace(
            replace(user_data_template, '$${', '${'), '\$\{[A-Z_]+\}', '', 'g')) <= 16384)
        NOT VALID;
