//! Database events on the deployed stack: a low buffer is refilled by events alone, without the
//! schedule and without a pass by hand, also when events are disturbed.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

use scaling_tests::deployed::{Deployed, SOON, client_request};
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

const REGION: &str = "us-east-1";

async fn assigned(deployed: &Deployed, user: &str) {
    let request = client_request(REGION, 1);
    let answer = deployed.assign(user, &request).await;
    assert_eq!(answer.status, 200, "{answer:#?}");
}

/// Waits until every event is delivered and the buffer holds its target again.
async fn wait_until_settled(deployed: &Deployed) {
    let observe = async || {
        let events = deployed.control_events("GET", "", &Value::Null).await;
        (
            deployed.free().await,
            events["events"]["pending"].as_i64(),
            events,
        )
    };
    let good = |(free, pending, _): &(i64, Option<i64>, Value)| *free >= 4 && *pending == Some(0);
    eventually("the buffer is full and no event waits", SOON, observe, good).await;
}

async fn assert_rows_match_machines(deployed: &Deployed) {
    let rows = deployed
        .sql
        .query("SELECT id FROM instances ORDER BY id", &[])
        .await
        .unwrap();
    let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let ledger = deployed.ledger().await;
    let mut running: Vec<_> = ledger.in_state("running").map(|m| m.id.clone()).collect();
    running.sort();
    assert_eq!(rows, running);
}

#[tokio::test]
async fn low_buffer_is_refilled_by_events_alone() {
    let deployed = Deployed::start("wakes", |options| {
        options.ec2.pending_ms = Some(300);
        options.ec2.agent_boot_ms = Some(100);
        // Longer than the test: no session ends and frees a slot.
        options.ec2.agent_session_ms = Some(600_000);
    })
    .await;
    deployed.set_up(REGION, 20).await;
    deployed.reconcile().await;
    deployed.filled_to(4).await;
    deployed.deliver_events().await;
    wait_until_settled(&deployed).await;

    assigned(&deployed, "ann").await;
    wait_until_settled(&deployed).await;
    assert_eq!(deployed.instances().await, 3, "one slot was missing");

    // Every event is delivered three times and out of order: nothing is launched twice.
    let faults = json!({"seed": 1, "rules": [{"action": {"duplicate": {"copies": 2}}}]});
    deployed.control_events("PUT", "faults", &faults).await;
    for user in ["bob", "cid", "dan", "eve"] {
        assigned(&deployed, user).await;
    }
    wait_until_settled(&deployed).await;
    assert_rows_match_machines(&deployed).await;
    let (free, instances) = (deployed.free().await, deployed.instances().await);
    assert_eq!(free + 5, instances * 2);
    assert!(
        free <= 5,
        "no more than the target and what one instance holds besides: {free}"
    );

    // The next pass replaces an event that is never delivered.
    let lost = json!({"seed": 1, "rules": [{"action": "drop"}]});
    deployed.control_events("PUT", "faults", &lost).await;
    for user in ["fay", "gus"] {
        assigned(&deployed, user).await;
    }
    deployed.reconcile().await;
    wait_until_settled(&deployed).await;
    assert_rows_match_machines(&deployed).await;
    deployed.stack.stop();
}
