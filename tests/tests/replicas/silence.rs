//! Silent replicas are neither deleted nor counted unless a bound is set. Too many silent ones at
//! once are not replaced even then.

use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::plans::alerts_to;
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

use crate::fleet::{Fleet, created, deleted, with_status};
use crate::world::SILENCE;

pub(crate) async fn is_tolerated(deployed: &Deployed) {
    let fleet = Fleet::filled(deployed, SILENCE, 6).await;
    neither_deleted_nor_counted(&fleet).await;
    replaced_after_the_bound(&fleet).await;
    guard_keeps_too_many_silent_replicas(&fleet).await;
    fleet.assert_invariants().await;
}

async fn neither_deleted_nor_counted(fleet: &Fleet<'_>) {
    let two = fleet.up().await;
    fleet.set_answer(&two[0], json!({"status": 500})).await;
    let died = json!({"on": {"instance_id": two[1].id}, "effect": {"agent_dies": {}}});
    let deployed = fleet.region.deployed;
    deployed.set_faults(&json!({"instances": [died]})).await;
    let both = |plan: &Value| with_status(plan, "unknown") == 2;
    fleet.plan_with("two are silent", both).await;
    deployed.set_faults(&json!({})).await;
    let report = fleet.pass().await;
    assert_eq!(created(&report["plan"]), 2, "{report:#}");
    assert!(deleted(&report["plan"]).is_empty(), "{report:#}");
    let report = fleet.at_rest().await;
    assert_eq!(with_status(&report["plan"], "unknown"), 2, "{report:#}");
    assert_eq!(fleet.up().await.len(), 4, "all are kept");

    // After a valid answer it counts again.
    fleet.set_answer(&two[0], json!({"status": 200})).await;
    let report = fleet.pass().await;
    assert_eq!(report["plan"]["figures"]["free"], 9, "{report:#}");
}

async fn replaced_after_the_bound(fleet: &Fleet<'_>) {
    let keys = fleet.region.deployed.region_state(fleet.region.name).await;
    assert!(!keys.contains(&"REPLICAS".to_owned()), "no bound is set");
    fleet
        .region
        .set(&json!({"replica_unknown_seconds": 2}))
        .await;
    let silent = fleet.ids().await[1].clone();
    let first = fleet.pass().await;
    assert!(
        deleted(&first["plan"]).is_empty(),
        "the bound starts now: {first:#}"
    );
    let replaced = async || fleet.pass().await["plan"].take();
    let found = |plan: &Value| !deleted(plan).is_empty();
    let plan = eventually("the bound is over", SOON, replaced, found).await;
    assert_eq!(deleted(&plan), [(silent.as_str(), "replica_unknown_for")]);
    assert_eq!(created(&plan), 0, "enough is there: {plan:#}");
    fleet.at_rest().await;
    assert_eq!(fleet.up().await.len(), 3);
}

/// More than three of a small fleet at once.
async fn guard_keeps_too_many_silent_replicas(fleet: &Fleet<'_>) {
    let all = fleet.grow_to_five().await;
    for machine in &all[..4] {
        fleet.set_answer(machine, json!({"status": 503})).await;
    }
    let guarded = async || fleet.pass().await["plan"].take();
    let alert = |plan: &Value| alerts_to(plan, "replica_guard");
    let plan = eventually("the guard", SOON, guarded, alert).await;
    assert!(deleted(&plan).is_empty(), "{plan:#}");
    let ids = fleet.ids().await;
    assert!(all.iter().all(|machine| ids.contains(&machine.id)));

    let order = json!({"regions": [fleet.region.name], "approve_mass_removal": true});
    let report = fleet.region.deployed.invoke(&order).await;
    let report = fleet.region.part_of(&report);
    assert_eq!(deleted(&report["plan"]).len(), 4, "{report:#}");
    fleet.at_rest().await;
    let left = fleet.ids().await;
    assert!(all[..4].iter().all(|machine| !left.contains(&machine.id)));
    assert!(left.contains(&all[4].id));
    assert_eq!(left.len(), 5);
}
