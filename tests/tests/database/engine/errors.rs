//! Errors of PostgreSQL: as Hasura answers them, and what the service's adapter makes of them.

use anyhow::{Context as _, Result};
use scaling_tests::database::{Database, REGION, Session};
use scaling_tests::graphql::{Engine, error_code};
use serde_json::{Value, json};
use shared::db::{DbError, Fence, InstanceDatabase as _, RegionDatabase as _};
use shared::function_token::FunctionRole;
use shared::model::DrainCause;

use super::error;

const BEGIN: &str = r#"mutation {
    begin_pass(args: {region: "us-east-1", version: 7}) { granted } }"#;
const BEGIN_AND_OBSERVE: &str = r#"mutation {
    begin_pass(args: {region: "us-east-1", version: 7}) { granted }
    observe_region(args: {region: "us-east-1", environment: "dev"}) { name } }"#;

/// Sends a mutation that has to wait for the fence, and runs `act` on its session meanwhile.
async fn disturbed(database: &Database, query: &str, act: &str) -> Result<Value> {
    let engine = Engine::start(database).await?;
    let holder = database.connect().await?;
    holder.run("BEGIN").await?;
    let fence = format!("INSERT INTO region_fences (region, version) VALUES ('{REGION}', 1)");
    holder.run(&fence).await?;
    let disturb = async {
        let session = database.connect().await?;
        session.wait_for_a_blocked_session().await?;
        let sql = format!(
            "SELECT {act}(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'"
        );
        session.run(&sql).await
    };
    let (answer, disturbed) = tokio::join!(engine.admin(query), disturb);
    disturbed?;
    answer
}

#[tokio::test]
async fn cancelled_statement_is_unexpected_with_its_cause_inside() -> Result<()> {
    for query in [BEGIN, BEGIN_AND_OBSERVE] {
        let database = Database::empty().await?;
        let answer = disturbed(&database, query, "pg_cancel_backend").await?;
        let error = error(&answer);
        assert_eq!(error["message"], "database query error", "{answer}");
        assert_eq!(error["extensions"]["code"], "unexpected");
        let cause = &error["extensions"]["internal"]["error"];
        assert_eq!(cause["status_code"], "57014", "{answer}");
        assert_eq!(cause["message"], "canceling statement due to user request");
    }
    Ok(())
}

#[tokio::test]
async fn ended_connection_is_a_connection_error_and_the_next_request_works() -> Result<()> {
    for query in [BEGIN, BEGIN_AND_OBSERVE] {
        let database = Database::empty().await?;
        let answer = disturbed(&database, query, "pg_terminate_backend").await?;
        let error = error(&answer);
        assert_eq!(error["message"], "connection error", "{answer}");
        assert_eq!(error["extensions"]["code"], "postgres-error");
        assert!(error["extensions"]["internal"].is_string(), "{answer}");
    }
    let (database, _session) = Database::with_region(0).await?;
    let engine = Engine::start(&database).await?;
    for _ in 0..2 {
        let answer = engine.admin(BEGIN_AND_OBSERVE).await?;
        assert_eq!(answer["data"]["begin_pass"][0]["granted"], true, "{answer}");
        let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                      WHERE datname = current_database() AND pid <> pg_backend_pid()";
        database.connect().await?.run(others).await?;
    }
    Ok(())
}

#[tokio::test]
async fn cause_is_hidden_unless_the_engine_shows_it_to_administrators() -> Result<()> {
    let database = Database::empty().await?;
    let engine = Engine::with(&database, |options| options.admin_internal_errors = false).await?;
    let deadlock = json!([{"trouble": "deadlock"}]);
    engine.set_faults(deadlock.clone()).await?;
    let answer = engine.admin(BEGIN).await?;
    assert_eq!(error_code(&answer), "unexpected");
    assert_eq!(error(&answer)["extensions"].get("internal"), None);

    let engine = Engine::start(&database).await?;
    engine.set_faults(deadlock).await?;
    let answer = engine.agent("i-1", BEGIN).await?;
    assert_eq!(
        error(&answer)["extensions"].get("internal"),
        None,
        "{answer}"
    );
    let answer = engine.admin(BEGIN).await?;
    let state = &error(&answer)["extensions"]["internal"]["error"]["status_code"];
    assert_eq!(*state, "40P01", "{answer}");
    Ok(())
}

#[tokio::test]
async fn pass_and_its_writes_survive_each_transient_error() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.launch(REGION, "i-1", 1).await?;
    let engine = Engine::start(&database).await?;
    let service = engine.adapter(FunctionRole::Passes)?;
    let troubles = [
        "deadlock",
        "serialization_failure",
        "statement_timeout",
        "read_only",
        "lost_connection",
        "too_many_connections",
        "pool_timeout",
    ];
    let mut version = 10;
    for when in ["before", "after"] {
        for trouble in troubles {
            version += 1;
            let fence = Fence {
                region: REGION.into(),
                version,
            };
            let once = json!([
                {"trouble": trouble, "operation": "BeginPass", "next": 1, "when": when},
                {"trouble": trouble, "operation": "drain_instances", "next": 1, "when": when},
            ]);
            engine.set_faults(once).await?;
            let seen = service.begin_pass(&fence).await.context(trouble)?;
            assert_eq!(seen.instances.len(), 1, "{trouble} {when}");
            let drained = service
                .drain(&fence, &["i-1".into()], DrainCause::Surplus)
                .await?;
            assert!(drained[0].outcome.holds(), "{trouble} {when}: {drained:?}");

            engine
                .set_faults(json!([{"trouble": trouble, "when": when}]))
                .await?;
            let error = service.regions().await.unwrap_err();
            assert!(
                matches!(error, DbError::Unavailable { .. }),
                "{trouble} {when}: {error}"
            );
            engine.set_faults(json!([])).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn sql_on_a_table_with_events_fails_in_a_session_that_hasura_used() -> Result<()> {
    let (_database, session, _events) = with_events().await?;
    // As a transaction of Hasura leaves its session behind.
    session
        .run("BEGIN; SET LOCAL hasura.session = '{}'; COMMIT")
        .await?;
    let insert = "INSERT INTO region_wakeups VALUES ('us-east-1', now())";
    let error = format!("{:?}", session.run(insert).await.unwrap_err());
    assert!(
        error.contains("invalid input syntax for type json"),
        "{error}"
    );
    // What docs/hasura.md recommends.
    session
        .run(&format!(
            "BEGIN; SET LOCAL hasura.session = 'null'; {insert}; COMMIT"
        ))
        .await?;
    Ok(())
}

async fn with_events() -> Result<(Database, Session, local_stack::events::Events)> {
    use local_stack::events::{EventOptions, Events};
    use local_stack::ports::Ports;
    use scaling_tests::database::server;

    let database = Database::empty().await?;
    let mut options = EventOptions::new(database.url(), "http://127.0.0.1:9/", "secret");
    options.name = "events-of-a-used-session".to_owned();
    let port = Ports::free().reserve("events")?;
    let events = Events::start(&server().await?.dir, port, &options).await?;
    let session = database.connect().await?;
    Ok((database, session, events))
}
