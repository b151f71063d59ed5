//! `{"doctor": true}` runs no pass.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use serde_json::json;
use testing::World;

#[tokio::test]
async fn doctor_without_its_ports_is_refused_and_runs_no_pass() {
    let world = World::with([]);
    let answer = reconcile::handle(&world.reconciler(), json!({"doctor": true}), "by hand").await;
    assert_eq!(answer.unwrap_err().error_type, "NoDoctor");
    assert!(world.host.state().launches.is_empty());
    assert!(world.store.items().calls.is_empty());
}

#[tokio::test]
async fn passes_have_no_report_of_doctor() {
    let world = World::with([]);
    let answer = reconcile::handle(&world.reconciler(), json!({"dry_run": true}), "by hand").await;
    let answer = serde_json::to_value(answer.unwrap()).unwrap();
    assert_eq!(answer["regions"][0]["outcome"], "dry_run");
    assert_eq!(answer.get("doctor"), None);
}
