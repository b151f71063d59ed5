//! Replicas that EC2 fails to build or run, and replicas that are already being deleted.

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
    assert_eq!(created(&plan), 1, "it does not count: {plan:#}");
    deployed.set_faults(&json!({})).await;

    fleet.pass().await;
    terminated(&fleet, &ids[0]).await;
    fleet.at_rest().await;
    assert_eq!(fleet.up().await.len(), 2);
    foreign_deletion_is_compensated(&fleet).await;
    all_terminated_replicas_are_deleted_at_once(&fleet).await;
    fleet.assert_invariants().await;
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

/// A replica that is gone does not count, and needs no deletion.
async fn foreign_deletion_is_compensated(fleet: &Fleet<'_>) {
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

/// Their own answers are no listing that could be wrong, so the guard does not apply.
async fn all_terminated_replicas_are_deleted_at_once(fleet: &Fleet<'_>) {
    let all = fleet.grow_to_five().await;
    for machine in &all {
        fleet
            .set_answer(machine, json!({"termination": true}))
            .await;
    }
    let report = fleet.pass().await;
    assert_eq!(deleted(&report["plan"]).len(), 5, "{report:#}");
    assert_eq!(created(&report["plan"]), 5, "{report:#}");
    fleet.at_rest().await;
    let left = fleet.ids().await;
    assert!(all.iter().all(|machine| !left.contains(&machine.id)));
    assert_eq!(left.len(), 5);
}
