//! The functions as clients of the administrator call them through GraphQL, and the schema file
//! that queries are checked against at compile time.

use std::fs;

use anyhow::{Result, ensure};
use local_stack::{graphql, project};
use scaling_tests::database::{Database, SHA};
use scaling_tests::graphql::{ADMIN_SECRET, Engine};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

#[tokio::test]
async fn schema_file_matches_the_served_schema() -> Result<()> {
    let database = Database::empty().await?;
    let engine = Engine::start(&database).await?;
    let url = engine.url().to_owned();
    let output = spawn_blocking(move || {
        std::process::Command::new(graphql::program(graphql::Build::Dev)?)
            .args(["schema", "--url", &url])
            .env("HASURA_GRAPHQL_ADMIN_SECRET", ADMIN_SECRET)
            .output()
            .map_err(anyhow::Error::from)
    })
    .await??;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let served = String::from_utf8(output.stdout)?;
    let file = fs::read_to_string(project::root().join("hasura/schema.graphql"))?;
    let different = served
        .lines()
        .zip(file.lines())
        .find(|(served, file)| served != file);
    ensure!(
        served == file,
        "hasura/schema.graphql is not what the engine serves (first difference: {different:?}): \
         write it anew with `local-graphql schema`"
    );
    Ok(())
}

#[tokio::test]
async fn pass_begins_with_one_mutation() -> Result<()> {
    let (database, session) = Database::with_region(4).await?;
    session.host("i-1", 2).await?;
    session
        .run(
            "UPDATE regions SET launch_choices = '[{\"instance_type\": \"m6i.large\",
             \"capacity\": 2, \"subnet_id\": \"subnet-01a0000000000000a\"}]'",
        )
        .await?;
    let engine = Engine::start(&database).await?;
    let query = r#"mutation {
        begin_pass(args: {region: "us-east-1", version: 7}) { region version granted }
        observe_region(args: {region: "us-east-1", environment: "dev"}) {
            name settings app_client_sha waiting now }
        observe_images(args: {region: "us-east-1"}) { image_id state state_since reason }
        observe_instances(args: {region: "us-east-1", after_id: "", page_size: 10}) {
            id status slots_waiting beat_at missing_since }
    }"#;
    let mut answer = engine.admin(query).await?;
    for (field, column) in [
        ("observe_region", "now"),
        ("observe_images", "state_since"),
        ("observe_instances", "beat_at"),
    ] {
        let time = answer["data"][field][0][column].take();
        assert!(
            time.as_str()
                .is_some_and(|time| time.parse::<jiff::Timestamp>().is_ok()),
            "{time}"
        );
    }
    let settings = answer["data"]["observe_region"][0]["settings"].take();
    for (column, value) in [
        ("target_free", json!(4)),
        (
            "launch_choices",
            json!([{"instance_type": "m6i.large", "capacity": 2,
                    "subnet_id": "subnet-01a0000000000000a"}]),
        ),
        ("swap_when_warm", json!(false)),
    ] {
        assert_eq!(settings[column], value, "{column}");
    }
    let expected = json!({"data": {
        "begin_pass": [{"region": "us-east-1", "version": 7, "granted": true}],
        "observe_region": [{"name": "us-east-1", "settings": null, "app_client_sha": SHA,
            "waiting": 0, "now": null}],
        "observe_images": [{"image_id": "ami-1", "state": "CURRENT", "state_since": null,
            "reason": null}],
        "observe_instances": [{"id": "i-1", "status": "ACTIVE", "slots_waiting": 2,
            "beat_at": null, "missing_since": null}],
    }});
    assert_eq!(answer, expected);
    Ok(())
}

#[tokio::test]
async fn broken_row_is_refused_through_graphql_with_the_broken_rule() -> Result<()> {
    let (database, session) = Database::with_region(4).await?;
    session.host("i-1", 1).await?;
    let engine = Engine::start(&database).await?;
    let update = |table: &str, set: &str| {
        format!(
            "mutation {{ update_{table}(where: {{created_at: {{_is_null: false}}}}, _set: {{{set}}})
                 {{ affected_rows }} }}"
        )
    };
    let cases = [
        (
            update("regions", "target_free: -1"),
            "regions_target_free_not_negative",
        ),
        (
            update("regions", "launch_choices: {}"),
            "regions_launch_choices_is_an_array",
        ),
        (
            update("instances", r#"status: "PRE_CONNECTION""#),
            "status cannot change from ACTIVE to PRE_CONNECTION",
        ),
    ];
    for (mutation, rule) in cases {
        let answer: Value = engine.admin(&mutation).await?;
        let message = answer["errors"][0]["message"].as_str().unwrap_or_default();
        assert!(message.contains(rule), "{mutation}: {answer}");
    }
    Ok(())
}
