//! Which changes become events, and what an event contains.

use anyhow::Result;
use reqwest::Method;
use scaling_tests::database::{Database, REGION, launch_of};
use scaling_tests::graphql::Engine;
use scaling_tests::metadata::altered;
use serde_json::{Value, json};

use crate::delivery::{self, SECRET, all, all_with, regions, use_metadata, wake};
use crate::webhook::Webhook;

#[tokio::test]
async fn event_request_matches_hasuras_documentation() -> Result<()> {
    let (session, webhook, _running) = all().await?;
    session
        .run("INSERT INTO region_wakeups VALUES ('us-east-1', '2026-01-02T03:04:06Z')")
        .await?;
    let mut request = webhook.received(1).await?.remove(0);
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.headers["x-event-secret"], SECRET);

    let id = request.body["id"].take();
    let id: uuid::Uuid = serde_json::from_value(id)?;
    assert_eq!(id.get_version_num(), 4);
    let created_at = request.body["created_at"].take();
    let created_at = created_at.as_str().unwrap_or_default();
    assert_eq!(created_at.len(), "2018-09-05T07:14:21.601701Z".len());
    created_at.parse::<jiff::Timestamp>()?;
    // Hasura's own sample, with this project's trigger, table and row.
    let documented = json!({
        "id": null,
        "created_at": null,
        "trigger": {"name": "region_wake"},
        "table": {"schema": "public", "name": "region_wakeups"},
        "delivery_info": {"current_retry": 0, "max_retries": 5},
        "event": {
            "session_variables": null,
            "trace_context": null,
            "op": "INSERT",
            "data": {
                "old": null,
                "new": {"region": "us-east-1", "bucket": "2026-01-02T03:04:06+00:00"},
            },
        },
    });
    assert_eq!(request.body, documented);
    Ok(())
}

#[tokio::test]
async fn event_exists_after_its_commit_and_never_after_a_rollback() -> Result<()> {
    let database = Database::empty().await?;
    let webhook = Webhook::start().await?;
    let running = delivery::start(&database, webhook.url(), |_| {}).await?;
    let sessions = database.sessions(3).await?;
    sessions[0].run("BEGIN").await?;
    wake(&sessions[0], &["rolled-back"]).await?;
    sessions[1].run("BEGIN").await?;
    wake(&sessions[1], &["committed-last"]).await?;
    wake(&sessions[2], &["committed-first"]).await?;
    assert_eq!(regions(&webhook, 1).await?, ["committed-first"]);
    sessions[0].run("ROLLBACK").await?;
    sessions[1].run("COMMIT").await?;
    let both = ["committed-first", "committed-last"];
    assert_eq!(regions(&webhook, 2).await?, both);
    let counts = running.settled().await?;
    assert_eq!(counts["delivered"], 2);
    assert_eq!(webhook.so_far().len(), 2);
    Ok(())
}

/// `op` and the value of one column, before and after.
fn change(body: &Value, column: &str) -> Value {
    let data = &body["event"]["data"];
    json!([
        body["event"]["op"],
        data["old"][column],
        data["new"][column]
    ])
}

#[tokio::test]
async fn update_is_an_event_only_when_a_listened_column_changes() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let webhook = Webhook::start().await?;
    let running = delivery::start(&database, webhook.url(), |_| {}).await?;
    for update in [
        "ip_addr = '10.0.0.9'",
        "status = status",
        "status = 'DRAINING', ip_addr = '10.0.0.8'",
        "missing_since = now()",
        "status = 'TERMINATING'",
    ] {
        let update = format!("UPDATE instances SET {update}");
        session.run(&update).await?;
    }
    running.settled().await?;
    let mut received = webhook.so_far();
    assert_eq!(received.len(), 2);
    // They may arrive in any order.
    received.sort_by_key(|request| request.body["created_at"].to_string());
    let changes: Vec<_> = received.iter().map(|r| change(&r.body, "status")).collect();
    let expected = [
        json!(["UPDATE", "ACTIVE", "DRAINING"]),
        json!(["UPDATE", "DRAINING", "TERMINATING"]),
    ];
    assert_eq!(changes, expected);
    assert_eq!(
        change(&received[0].body, "ip_addr"),
        json!(["UPDATE", "10.0.0.9", "10.0.0.8"]),
        "the whole row is in the event"
    );
    Ok(())
}

#[tokio::test]
async fn operations_columns_and_manual_events_follow_the_metadata() -> Result<()> {
    let metadata = altered(
        "databases/default/tables/public_app_versions.yaml",
        "      enable_manual: false
      insert:
        columns: '*'
",
        "      enable_manual: true
      insert:
        columns: '*'
        payload:
          - environment
      delete:
        columns: '*'
",
    )?;
    let (session, webhook, running) = all_with(use_metadata(&metadata)).await?;
    let row = json!({"environment": "dev", "version": "1", "client_sha": "a"});
    for (sql, old, new) in [
        (
            "INSERT INTO app_versions VALUES ('dev', '1', 'a')",
            json!(null),
            json!({"environment": "dev"}),
        ),
        ("DELETE FROM app_versions", row, json!(null)),
    ] {
        let before = webhook.so_far().len();
        session.run(sql).await?;
        let received = webhook.received(before + 1).await?;
        let data = &received[before].body["event"]["data"];
        assert_eq!(data, &json!({"old": old, "new": new}), "{sql}");
    }

    let by_hand = json!({"name": "app_version_changed", "payload": {"environment": "prod"}});
    let (_, answer) = running.ask(Method::POST, "/invoke", &by_hand).await?;
    let body = &webhook.received(3).await?[2].body;
    assert_eq!(body["id"], answer["event_id"]);
    assert_eq!(body["event"]["op"], "MANUAL");
    let expected = json!({"old": null, "new": {"environment": "prod"}});
    assert_eq!(body["event"]["data"], expected);
    for (name, status) in [("region_wake", 400), ("nothing", 404)] {
        let by_hand = json!({"name": name, "payload": {}});
        let (answered, _) = running.ask(Method::POST, "/invoke", &by_hand).await?;
        assert_eq!(answered.as_u16(), status, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn event_names_its_author_and_the_log_is_hidden_from_graphql() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.launch(REGION, "i-1", 1).await?;
    let webhook = Webhook::start().await?;
    let _running = delivery::start(&database, webhook.url(), |_| {}).await?;
    let engine = Engine::start(&database).await?;
    let register = r#"mutation {
        register_host(args: {instance_id: "i-1", ip_addr: "10.0.0.1"}) { outcome } }"#;
    engine.agent("i-1", register).await?;
    let body = &webhook.received(1).await?[0].body;
    assert_eq!(
        change(body, "status"),
        json!(["UPDATE", "PRE_CONNECTION", "ACTIVE"])
    );
    let variables = &body["event"]["session_variables"];
    assert_eq!(variables["x-hasura-role"], "host_agent");
    assert_eq!(variables["x-hasura-launch-id"], launch_of("i-1"));

    let types = engine
        .admin("{ __schema { types { name } } }")
        .await?
        .to_string();
    assert!(types.contains("region_wakeups"), "{types}");
    for hidden in ["event_log", "deliveries", "local_events"] {
        assert!(!types.contains(hidden), "{hidden}");
    }
    Ok(())
}
