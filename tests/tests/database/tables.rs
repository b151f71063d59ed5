//! Constraints and triggers of the tables.

use anyhow::Result;
use scaling_tests::database::{Database, REGION};

const STATES: [&str; 4] = ["PRE_CONNECTION", "ACTIVE", "DRAINING", "TERMINATING"];

#[tokio::test]
async fn instance_states_only_go_forward() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    for (from, earlier) in STATES.iter().enumerate() {
        for (to, later) in STATES.iter().enumerate() {
            let id = format!("i-{from}-{to}");
            session.launch(REGION, &id, 1).await?;
            session
                .run(&format!(
                    "UPDATE instances SET status = '{earlier}', ip_addr = '10.0.0.1' WHERE id = '{id}'"
                ))
                .await?;
            let change = format!("UPDATE instances SET status = '{later}' WHERE id = '{id}'");
            if from <= to {
                session.run(&change).await?;
            } else {
                assert_eq!(
                    session.violated(&change).await?,
                    "instances_states_go_forward"
                );
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn instance_keeps_its_identity() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.add_region("eu-west-1", 0).await?;
    session.host("i-1", 1).await?;
    for change in [
        "id = 'i-2'",
        "launch_id = 'another'",
        "region = 'eu-west-1'",
    ] {
        let violated = session
            .violated(&format!("UPDATE instances SET {change}"))
            .await?;
        assert_eq!(violated, "instances_identity_is_fixed", "{change}");
    }
    Ok(())
}

#[tokio::test]
async fn slot_always_has_its_instances_region() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    session
        .run("INSERT INTO slots (instance_id, region) VALUES ('i-1', 'elsewhere')")
        .await?;
    session.run("UPDATE slots SET region = 'elsewhere'").await?;
    assert_eq!(
        session
            .count(&format!("SELECT FROM slots WHERE region = '{REGION}'"))
            .await?,
        2
    );
    Ok(())
}

#[tokio::test]
async fn broken_rows_are_refused_by_a_constraint_that_names_the_rule() -> Result<()> {
    let (_database, session) = Database::with_region(0).await?;
    session.host("i-1", 2).await?;
    let region = |column: &str, value: &str| format!("UPDATE regions SET {column} = {value}");
    let instance = |column: &str, value: &str| format!("UPDATE instances SET {column} = {value}");
    let cases = [
        (
            region("target_free", "-1"),
            "regions_target_free_not_negative",
        ),
        (
            region("max_instances", "-1"),
            "regions_max_instances_not_negative",
        ),
        (
            region("scale_up_step", "-1"),
            "regions_scale_up_step_not_negative",
        ),
        (
            region("scale_down_step", "-1"),
            "regions_scale_down_step_not_negative",
        ),
        (
            region("launch_choices", "'{}'"),
            "regions_launch_choices_is_an_array",
        ),
        (
            region("security_groups", "'\"sg-1\"'"),
            "regions_security_groups_is_an_array",
        ),
        (
            region("heartbeat_seconds", "0"),
            "regions_heartbeat_seconds_positive",
        ),
        (region("lost_seconds", "90"), "regions_lost_after_silent"),
        (
            region("claim_seconds", "0"),
            "regions_claim_seconds_positive",
        ),
        (region("boot_seconds", "0"), "regions_boot_seconds_positive"),
        (
            region("drain_seconds", "0"),
            "regions_drain_seconds_positive",
        ),
        (
            region("missing_seconds", "0"),
            "regions_missing_seconds_positive",
        ),
        (
            region("orphan_seconds", "0"),
            "regions_orphan_seconds_positive",
        ),
        (
            region("upgrade_surge", "-1"),
            "regions_upgrade_surge_not_negative",
        ),
        (
            region("upgrade_seconds", "0"),
            "regions_upgrade_seconds_positive",
        ),
        (region("bake_seconds", "0"), "regions_bake_seconds_positive"),
        (
            region("old_image_seconds", "0"),
            "regions_old_image_seconds_positive",
        ),
        (
            region("history_days", "0"),
            "regions_history_days_1_to_3650",
        ),
        (
            region("replica_address_tag", "'pool'"),
            "regions_replica_address_tag_key_equals_value",
        ),
        (instance("status", "'STOPPED'"), "instances_status_known"),
        (instance("capacity", "0"), "instances_capacity_positive"),
        (instance("ip_addr", "NULL"), "instances_active_has_address"),
        (
            instance("ip_addr", "'10.0.0.1:8080'"),
            "instances_ip_addr_is_an_address",
        ),
        (
            instance("private_ip", "'10.0.0.0/24'"),
            "instances_private_ip_is_a_host",
        ),
        (
            instance("public_ip", "'2001:db8::/64'"),
            "instances_public_ip_is_a_host",
        ),
        (
            "INSERT INTO slots (instance_id) VALUES ('i-9')".to_owned(),
            "slots_instance_id_fkey",
        ),
        (
            "UPDATE slots SET user_id = 'u'".to_owned(),
            "slots_user_exactly_when_occupied",
        ),
        (
            "UPDATE slots SET status = 'RUNNING', user_id = 'u'".to_owned(),
            "slots_session_exactly_when_occupied",
        ),
        (
            "UPDATE slots SET status = 'ALLOCATED', user_id = 'u', session_id = id::text"
                .to_owned(),
            "slots_allocated_has_a_time",
        ),
        (
            "UPDATE slots SET status = 'RUNNING', user_id = 'u', session_id = 's'".to_owned(),
            "slots_one_per_session",
        ),
        (
            "INSERT INTO images (region, image_id, client_sha, state)
             SELECT region, 'ami-2', client_sha, 'CURRENT' FROM images"
                .to_owned(),
            "images_one_current_per_region",
        ),
        (
            "UPDATE images SET state = 'OLD'".to_owned(),
            "images_state_known",
        ),
        (
            "INSERT INTO write_results VALUES ('i', 'DONE')".to_owned(),
            "write_results_only_a_shape",
        ),
    ];
    for (statement, constraint) in cases {
        assert_eq!(
            session.violated(&statement).await?,
            constraint,
            "{statement}"
        );
    }
    Ok(())
}
