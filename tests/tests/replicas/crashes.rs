//! Launches whose answer is lost, and functions that die in the middle of one: the intent in
//! DynamoDB is all that is known of them, and it is launched once.

use scaling_tests::crashes::{kill_function, lease_is_over};
use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::world::CRASHES;

pub(crate) async fn launch_once(deployed: &Deployed) {
    let fleet = Fleet::new(deployed, CRASHES, 6).await;
    answers_that_are_lost(&fleet).await;
    a_function_that_dies_before_the_answer(&fleet).await;
    a_launch_that_ec2_cut_short(&fleet).await;
    fleet.promises_kept().await;
}

fn on_launches(effect: &Value, times: u32) -> Value {
    let on = json!({"region": CRASHES, "action": "RunInstances"});
    json!({"calls": [{"on": on, "effect": effect, "times": times}]})
}

/// Until the client gives up: the machines are there, and nobody was told.
async fn answers_that_are_lost(fleet: &Fleet<'_>) {
    let deployed = fleet.region.deployed;
    deployed.set_faults(&on_launches(&json!("lost"), 3)).await;
    let report = fleet.region.reconcile().await;
    assert_eq!(report["outcome"], "incomplete", "{report:#}");
    assert_eq!(fleet.up().await.len(), 2, "launched all the same");
    assert_eq!(fleet.region.open_intents().await.len(), 1);
    deployed.set_faults(&json!({})).await;
    fleet.at_rest().await;
    assert_eq!(fleet.region.launched().await.len(), 2);
    one_token_was_used(fleet, 0).await;
}

async fn a_function_that_dies_before_the_answer(fleet: &Fleet<'_>) {
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
    lease_is_over(&fleet.region).await;
    fleet.at_rest().await;
    assert_eq!(fleet.region.launched().await.len(), 4);
    one_token_was_used(fleet, before).await;
}

/// All calls after the first so many were for one and the same launch.
async fn one_token_was_used(fleet: &Fleet<'_>, before: usize) {
    let calls = fleet.region.calls("RunInstances").await.split_off(before);
    let token = &calls[0].params["ClientToken"];
    assert!(calls.len() > 1, "asked again: {calls:#?}");
    assert!(
        calls
            .iter()
            .all(|call| call.params["ClientToken"] == *token),
        "{calls:#?}"
    );
}

/// Room for one of two: the rest is asked for once EC2's list shows that it did not come.
async fn a_launch_that_ec2_cut_short(fleet: &Fleet<'_>) {
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
