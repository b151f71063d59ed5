//! Launches whose answer is lost, and functions that die during one. The intent in DynamoDB is the
//! only record of them, and each is launched once.

use scaling_tests::crashes::{expire_lease, kill_function};
use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::world::CRASHES;

pub(crate) async fn launch_once(deployed: &Deployed) {
    let fleet = Fleet::new(deployed, CRASHES, 6).await;
    answers_are_lost(&fleet).await;
    function_dies_before_the_answer(&fleet).await;
    launch_is_filled_partially(&fleet).await;
    fleet.assert_invariants().await;
}

fn on_launches(effect: &Value, times: u32) -> Value {
    let on = json!({"region": CRASHES, "action": "RunInstances"});
    json!({"calls": [{"on": on, "effect": effect, "times": times}]})
}

/// Until the client gives up: the machines exist, and no answer arrived.
async fn answers_are_lost(fleet: &Fleet<'_>) {
    let deployed = fleet.region.deployed;
    deployed.set_faults(&on_launches(&json!("lost"), 3)).await;
    let report = fleet.region.reconcile().await;
    assert_eq!(report["outcome"], "incomplete", "{report:#}");
    assert_eq!(fleet.up().await.len(), 2, "launched anyway");
    assert_eq!(fleet.region.open_intents().await.len(), 1);
    deployed.set_faults(&json!({})).await;
    fleet.at_rest().await;
    assert_eq!(fleet.region.launched().await.len(), 2);
    assert_one_token_was_used(fleet, 0).await;
}

async fn function_dies_before_the_answer(fleet: &Fleet<'_>) {
    let deployed = fleet.region.deployed;
    let before = fleet.region.calls("RunInstances").await.len();
    fleet
        .region
        .set(&json!({"replica_min_available": 12}))
        .await;
    deployed
        .set_faults(&on_launches(&json!({"delay_ms": 20_000}), 1))
        .await;
    let death = async {
        let calls = async || fleet.region.calls("RunInstances").await.len();
        eventually("RunInstances", SOON, calls, |calls| *calls > before).await;
        kill_function(deployed, &deployed.stack.env().reconcile_function);
    };
    let only = json!({"regions": [CRASHES]});
    let (died, ()) = tokio::join!(deployed.refused(&only), death);
    assert!(died.contains("Runtime.ExitError"), "{died}");
    deployed.set_faults(&json!({})).await;
    assert_eq!(fleet.region.open_intents().await.len(), 1);
    expire_lease(&fleet.region).await;
    fleet.at_rest().await;
    assert_eq!(fleet.region.launched().await.len(), 4);
    assert_one_token_was_used(fleet, before).await;
}

/// Asserts that all calls after the first `before` were for the same launch.
async fn assert_one_token_was_used(fleet: &Fleet<'_>, before: usize) {
    let calls = fleet.region.calls("RunInstances").await.split_off(before);
    let token = &calls[0].params["ClientToken"];
    assert!(calls.len() > 1, "retried: {calls:#?}");
    assert!(
        calls
            .iter()
            .all(|call| call.params["ClientToken"] == *token),
        "{calls:#?}"
    );
}

/// EC2 has capacity for one of two: the rest is requested once EC2's listing shows that it is
/// missing.
async fn launch_is_filled_partially(fleet: &Fleet<'_>) {
    let deployed = fleet.region.deployed;
    fleet
        .region
        .set(&json!({"replica_min_available": 18}))
        .await;
    let room = json!({"region": CRASHES, "available": 1});
    deployed.set_faults(&json!({"capacity": [room]})).await;
    fleet.pass().await;
    assert_eq!(fleet.up().await.len(), 5);
    deployed.set_faults(&json!({})).await;
    fleet.at_rest().await;
    assert_eq!(fleet.region.launched().await.len(), 6);
}
