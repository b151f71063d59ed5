//! What each role of the functions may do by its permissions alone, without the allow list: send the
//! documents of its functions, and nothing else.

use std::fs;

use anyhow::{Context as _, Result};
use local_stack::project;
use scaling_tests::database::{Database, REGION, SHA};
use scaling_tests::graphql::{Engine, error_code};
use serde_json::{Value, json};
use shared::function_token::FunctionRole::{self, Assigner, Events, Passes, Status};

const RUN_PASSES: &[FunctionRole] = &[Passes, Events];

/// Every operation of the functions with its roles and variables.
fn operations() -> Vec<(&'static str, &'static str, &'static [FunctionRole], Value)> {
    let of = |value: Value| {
        let mut all = json!({"region": REGION, "version": 1});
        if let (Some(all), Some(more)) = (all.as_object_mut(), value.as_object()) {
            all.extend(more.clone());
        }
        all
    };
    let ids = |more: Value| {
        let mut all = of(more);
        all["ids"] = json!(["i-9"]);
        all
    };
    vec![
        (
            "ask_upgrade",
            "AskUpgrade",
            &[Passes],
            json!({"region": REGION, "image": "ami-2", "client_sha": "new"}),
        ),
        (
            "assign_slot",
            "AssignSlot",
            &[Assigner],
            json!({"user_id": "alice", "session_id": "1", "regions": [REGION], "client_sha": SHA,
                "user_limit": 1, "environment": "dev", "local_dev": false,
                "max_session_seconds": 0, "max_idle_seconds": 0}),
        ),
        (
            "begin_pass",
            "BeginPass",
            RUN_PASSES,
            of(json!({"environment": "dev", "page_size": 10})),
        ),
        (
            "begin_pass",
            "Look",
            RUN_PASSES,
            json!({"region": REGION, "environment": "dev", "page_size": 10}),
        ),
        (
            "more_instances",
            "MoreInstances",
            &[Passes, Events, Status],
            json!({"region": REGION, "after_id": "", "page_size": 10}),
        ),
        (
            "costs",
            "ListCosts",
            &[Status],
            json!({"region": REGION, "from_day": "2026-01-01", "to_day": "2026-02-01"}),
        ),
        ("doctor", "Doctor", &[Passes], json!({})),
        ("doctor", "DoctorEvents", &[Passes], json!({})),
        ("doctor", "DoctorMetadata", &[Passes], json!({})),
        (
            "instance_events",
            "FindInstance",
            &[Events],
            json!({"id": "i-1"}),
        ),
        (
            "instance_events",
            "GiveNotice",
            &[Events],
            json!({"id": "i-1", "notice": "REBALANCE"}),
        ),
        (
            "overview",
            "ReadRegionRows",
            &[Status],
            json!({"environment": "dev"}),
        ),
        (
            "overview",
            "ReadOverview",
            &[Status],
            json!({"environment": "dev"}),
        ),
        (
            "pass_writes",
            "RecordInstances",
            RUN_PASSES,
            of(json!({"instances": []})),
        ),
        (
            "pass_writes",
            "AdoptOrphans",
            RUN_PASSES,
            of(json!({"instances": []})),
        ),
        (
            "pass_writes",
            "DrainInstances",
            RUN_PASSES,
            ids(json!({"cause": "SURPLUS"})),
        ),
        ("pass_writes", "ReopenInstances", RUN_PASSES, ids(json!({}))),
        (
            "pass_writes",
            "TerminateInstances",
            RUN_PASSES,
            ids(json!({"reason": "EMPTY"})),
        ),
        (
            "pass_writes",
            "MoveImage",
            RUN_PASSES,
            of(json!({"image": "ami-9", "from": "WARMING", "to": "FAILED", "reason": "test"})),
        ),
        ("pass_writes", "RemoveInstances", RUN_PASSES, ids(json!({}))),
        (
            "pass_writes",
            "NoteMissing",
            RUN_PASSES,
            of(json!({"missing": [], "present": []})),
        ),
        (
            "pass_writes",
            "NoteAddresses",
            RUN_PASSES,
            of(json!({"addresses": []})),
        ),
        (
            "pass_writes",
            "NoteForecast",
            RUN_PASSES,
            of(json!({"made_at": "2026-01-01T00:00:00Z", "forecasts": []})),
        ),
        (
            "pass_writes",
            "RenewTokens",
            RUN_PASSES,
            of(json!({"tokens": []})),
        ),
        ("pass_writes", "ReleaseUnclaimed", RUN_PASSES, of(json!({}))),
        ("pass_writes", "MarkEnds", RUN_PASSES, of(json!({}))),
        (
            "note_running",
            "NoteRunning",
            RUN_PASSES,
            json!({"instances": [{"id": "i-1", "at": "2026-01-01T00:00:00Z"}]}),
        ),
        (
            "end_session",
            "EndOwnSession",
            &[Assigner],
            json!({"user_id": "alice", "session_id": "1"}),
        ),
        ("regions", "Regions", RUN_PASSES, json!({})),
        (
            "recording",
            "ReadRecording",
            &[Passes, Status],
            of(json!({"from_at": "2026-01-01T00:00:00Z", "to_at": "2026-01-02T00:00:00Z"})),
        ),
        (
            "recording",
            "ReadRecordedSessions",
            &[Passes, Status],
            of(
                json!({"from_at": "2026-01-01T00:00:00Z", "to_at": "2026-01-02T00:00:00Z",
                "page_size": 10}),
            ),
        ),
        (
            "sessions",
            "ListSessions",
            &[Status],
            json!({"from_at": "2026-01-01T00:00:00Z", "to_at": "2026-01-02T00:00:00Z",
                "page_size": 10}),
        ),
        (
            "usage",
            "ListUsage",
            &[Status],
            json!({"from_at": "2026-01-01T00:00:00Z", "to_at": "2026-01-02T00:00:00Z",
                "step_seconds": 3600}),
        ),
    ]
}

fn document(name: &str) -> Result<String> {
    let file = project::root().join(format!("adapters/hasura/graphql/{name}.graphql"));
    Ok(fs::read_to_string(file)?)
}

/// The tracked tables.
fn tables() -> Result<Vec<String>> {
    let folder = project::root().join("hasura/metadata/databases/default/tables");
    let mut tables = Vec::new();
    for file in fs::read_dir(folder)? {
        let name = file?.file_name().into_string().ok().context("a name")?;
        let table = name
            .strip_prefix("public_")
            .and_then(|it| it.strip_suffix(".yaml"));
        tables.extend(table.map(str::to_owned));
    }
    Ok(tables)
}

#[tokio::test]
async fn each_function_sends_its_own_documents_and_no_other() -> Result<()> {
    let (database, session) = Database::with_region(1).await?;
    session.host("i-1", 1).await?;
    for allow_list in [false, true] {
        let engine = Engine::with(&database, |options| options.allow_list = allow_list).await?;
        for (file, operation, allowed, variables) in operations() {
            let request = json!({
                "query": document(file)?, "operationName": operation, "variables": variables,
            });
            for role in FunctionRole::ALL {
                let answer = engine.function(role, &request).await?;
                if allowed.contains(&role) {
                    assert!(
                        answer.get("errors").is_none(),
                        "{role:?} {operation}: {answer}"
                    );
                } else {
                    assert_eq!(
                        error_code(&answer),
                        "validation-failed",
                        "{role:?} {operation}: {answer}"
                    );
                }
            }
        }
    }
    Ok(())
}

/// So that a new operation is not forgotten above.
#[test]
fn every_operation_of_the_functions_is_tried() -> Result<()> {
    let mut sent = Vec::new();
    for file in fs::read_dir(project::root().join("adapters/hasura/graphql"))? {
        let text = fs::read_to_string(file?.path())?;
        for line in text.lines() {
            let after = ["query ", "mutation "]
                .iter()
                .find_map(|it| line.strip_prefix(it));
            let name = after.map(|rest| rest.split(['(', ' ']).next().unwrap_or_default());
            sent.extend(name.map(str::to_owned));
        }
    }
    let mut tried: Vec<_> = operations().into_iter().map(|it| it.1.to_owned()).collect();
    sent.sort();
    tried.sort();
    assert_eq!(tried, sent);
    Ok(())
}

#[tokio::test]
async fn functions_read_and_change_no_table() -> Result<()> {
    let (database, session) = Database::with_region(1).await?;
    session.host("i-1", 1).await?;
    let before = session
        .rows("SELECT * FROM instances, regions, slots")
        .await?;
    let engine = Engine::start(&database).await?;
    for role in FunctionRole::ALL {
        for table in tables()? {
            // The list of regions is a query.
            let lists_regions = table == "regions" && RUN_PASSES.contains(&role);
            let mut refused = vec![
                format!("{{ {table}_aggregate {{ aggregate {{ count }} }} }}"),
                format!("mutation {{ delete_{table}(where: {{}}) {{ affected_rows }} }}"),
                format!("mutation {{ insert_{table}(objects: []) {{ affected_rows }} }}"),
            ];
            if !lists_regions {
                refused.push(format!("{{ {table} {{ __typename }} }}"));
                refused.push(format!("query {{ x: {table}(limit: 1) {{ __typename }} }}"));
            }
            for query in refused {
                let answer = engine.function(role, &json!({"query": query})).await?;
                assert_eq!(
                    error_code(&answer),
                    "validation-failed",
                    "{role:?} {query}: {answer}"
                );
            }
        }
        for query in [
            "{ regions { target_free } }",
            "{ regions { launch_choices user_data_template } }",
            "{ regions_by_pk(name: \"us-east-1\") { name } }",
            "{ instances_by_pk(id: \"i-1\") { ip_addr } }",
            "{ instances_by_pk(id: \"i-1\") { slots { user_id } } }",
            "mutation { heartbeat(args: {instance_id: \"i-1\"}) { outcome } }",
        ] {
            let answer = engine.function(role, &json!({"query": query})).await?;
            assert_eq!(
                error_code(&answer),
                "validation-failed",
                "{role:?} {query}: {answer}"
            );
        }
    }
    let after = session
        .rows("SELECT * FROM instances, regions, slots")
        .await?;
    assert_eq!(after, before);
    Ok(())
}
