//! Replicas that EC2 neither builds nor runs, and those that are being deleted already.

use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

use crate::fleet::{Fleet, created, deleted, with_status};
use crate::world::ERRORS;

pub(crate) async fn are_deleted(deployed: &Deployed) {
    let fleet = Fleet::filled(deployed, ERRORS, 6).await;
    let ids = fleet.ids().await;
    let stops = json!({
        "on": {"instance_id": ids[0]},
        "effect": {"interrupt": {"warning_ms": 0, "action": "stop"}},
    });
    deployed.set_faults(&json!({"instances": [stops]})).await;
    let stopped = |plan: &Value| with_status(plan, "in_error") == 1;
    let plan = fleet.plan_with("a stopped replica", stopped).await;
    assert_eq!(deleted(&plan), [(ids[0].as_str(), "replica_in_error")]);
    assert_eq!(created(&plan), 1, "it is available no more: {plan:#}");
    deployed.set_faults(&json!({})).await;

    fleet.pass().await;
    terminated(&fleet, &ids[0]).await;
    fleet.at_rest().await;
    assert_eq!(fleet.up().await.len(), 2);
    someone_elses_deletion_is_made_up_for(&fleet).await;
    all_that_are_done_go_at_once(&fleet).await;
    fleet.promises_kept().await;
}

async fn terminated(fleet: &Fleet<'_>, id: &str) {
    let state = async || {
        let machines = fleet.region.launched().await;
        let machine = machines.into_iter().find(|machine| machine.id == id);
        machine.and_then(|machine| machine.state)
    };
    let gone = |state: &Option<String>| state.as_deref() == Some("terminated");
    eventually("terminated", SOON, state, gone).await;
}

/// One that is gone does not count, and there is nothing to delete.
async fn someone_elses_deletion_is_made_up_for(fleet: &Fleet<'_>) {
    let ids = fleet.ids().await;
    let taken = json!({
        "on": {"instance_id": ids[0]},
        "effect": {"interrupt": {"warning_ms": 0, "action": "terminate"}},
    });
    let deployed = fleet.region.deployed;
    deployed.set_faults(&json!({"instances": [taken]})).await;
    terminated(fleet, &ids[0]).await;
    deployed.set_faults(&json!({})).await;
    let short = |plan: &Value| created(plan) == 1 && with_status(plan, "healthy") == 1;
    let plan = fleet.plan_with("one is missing", short).await;
    assert!(deleted(&plan).is_empty(), "{plan:#}");
    fleet.pass().await;
    fleet.at_rest().await;
    assert_eq!(fleet.up().await.len(), 2);
}

/// Their own word is no listing that may be wrong: no guard keeps them.
async fn all_that_are_done_go_at_once(fleet: &Fleet<'_>) {
    fleet
        .region
        .set(&json!({"replica_min_available": 15}))
        .await;
    fleet.pass().await;
    fleet.at_rest().await;
    let all = fleet.up().await;
    assert_eq!(all.len(), 5);
    for machine in &all {
        fleet.tell(machine, json!({"termination": true})).await;
    }
    let report = fleet.pass().await;
    assert_eq!(deleted(&report["plan"]).len(), 5, "{report:#}");
    assert_eq!(created(&report["plan"]), 5, "{report:#}");
    fleet.at_rest().await;
    let left = fleet.ids().await;
    assert!(all.iter().all(|machine| !left.contains(&machine.id)));
    assert_eq!(left.len(), 5);
}
