//! `{"replay": …}` runs no pass, and answers what other settings would have cost.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::{Value, json};
use testing::{EveryMinute, NOW, World};

async fn ask(replay: Value) -> Result<Value, String> {
    let world = World::with([]);
    let mut reconciler = world.reconciler();
    reconciler.recordings = Some(Arc::new(EveryMinute));
    let event = json!({ "replay": replay });
    let answer = reconcile::handle(&reconciler, event, "by hand").await;
    assert!(world.store.items().calls.is_empty(), "a pass was run");
    answer
        .map(|answer| serde_json::to_value(answer).unwrap())
        .map_err(|error| format!("{}: {}", error.error_type, error.error_message))
}

#[tokio::test]
async fn replay_compares_todays_settings_with_others() {
    let settings = json!([{"target_free": 20}, {"target_fre": 1}]);
    let asked = json!({"region": "us-east-1", "since": "3h", "settings": settings});
    let answer = ask(asked).await.unwrap();
    assert_eq!(answer["regions"], json!([]));
    let replay = &answer["replay"];
    assert_eq!(replay["region"], "us-east-1");
    assert_eq!(
        replay["from"],
        (NOW - SignedDuration::from_hours(3)).to_string()
    );
    assert_eq!(replay["recorded"]["machine_hours"], 21.0);
    assert_eq!(replay["recorded"]["users"], 180);
    assert_eq!(replay["today"]["users"], 180);
    let hours = |played: &Value| played["machine_hours"].as_f64().unwrap();
    let proposals = &replay["proposals"];
    assert_eq!(proposals[0]["settings"], json!({"target_free": 20}));
    assert!(hours(&replay["today"]) < hours(&proposals[0]));
    assert!(replay["clairvoyant_machine_hours"].as_f64().unwrap() < hours(&replay["today"]));
    let problem = proposals[1]["problem"].as_str().unwrap();
    assert!(problem.contains("target_fre"), "{problem}");
    assert_eq!(replay.get("chart"), None);
}

#[tokio::test]
async fn replay_draws_the_frontier_if_asked() {
    let answer = ask(json!({"region": "us-east-1", "since": "1h", "frontier": true}));
    let answer = answer.await.unwrap();
    let chart = answer["replay"]["chart"].as_str().unwrap();
    assert!(chart.starts_with("<svg"), "{chart}");
    assert_eq!(answer["replay"]["frontier"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn replay_of_a_region_without_a_row_says_so() {
    let error = ask(json!({"region": "us-east-2"})).await.unwrap_err();
    assert!(error.starts_with("DatabaseUnavailable"), "{error}");
    assert!(error.contains("no row for region us-east-2"), "{error}");
}

#[tokio::test]
async fn replay_without_a_database_is_refused() {
    let world = World::with([]);
    let event = json!({"replay": {"region": "us-east-1"}});
    let answer = reconcile::handle(&world.reconciler(), event, "by hand").await;
    assert_eq!(answer.unwrap_err().error_type, "NoDatabase");
}
