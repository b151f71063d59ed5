//! The example in SimpleScaleVM's documentation of its rules: a dry run reports it, a pass executes
//! it.

use scaling_tests::deployed::Deployed;
use serde_json::{Value, json};

use crate::fleet::{Fleet, created, deleted, views, with_status};
use crate::world::{PACE, REPORTS};

/// Capacity 3, minimum 6; replicas with 0 free, terminated, with 1 free, silent, and one that is
/// being created: 0 + 1 + 3 are available, so the second is deleted and one is created.
pub(crate) async fn list_each_replica(deployed: &Deployed) {
    let fleet = Fleet::filled(deployed, REPORTS, 12).await;
    let four = fleet.up().await;
    assert_eq!(four.len(), 4);
    deployed.set_pace(&json!({"pending_ms": 3_600_000})).await;
    fleet
        .region
        .set(&json!({"replica_min_available": 15}))
        .await;
    fleet.pass().await;
    deployed
        .set_pace(&json!({"pending_ms": PACE.pending_ms}))
        .await;
    let changes = [
        json!({"capacity": 0}),
        json!({"termination": true}),
        json!({"capacity": 1}),
        json!({"hang": true}),
    ];
    for (machine, change) in four.iter().zip(changes) {
        fleet.set_answer(machine, change).await;
    }
    fleet.region.set(&json!({"replica_min_available": 6})).await;

    let all = fleet.ids().await;
    assert_eq!(all.len(), 5);
    let listed = |plan: &Value| views(plan).len() == 5;
    let plan = fleet.plan_with("the fifth is listed", listed).await;
    let shown = views(&plan);
    let expected = [
        ("healthy", "kept: counts with 0"),
        ("terminated", "delete: it reports that it is terminated"),
        ("healthy", "kept: counts with 1"),
        ("unknown", "kept: neither deleted nor counted"),
        ("creating", "kept: counts with 3 (REPLICA_CAPACITY)"),
    ];
    for (id, (status, decided)) in all.iter().zip(expected) {
        let view = shown[id.as_str()];
        assert_eq!(view["status"], status, "{view:#}");
        assert_eq!(view["decided"], decided, "{view:#}");
    }
    assert_eq!(shown[all[0].as_str()]["capacity"], 0);
    assert_eq!(shown[all[3].as_str()]["why"], "no answer within 5 s");
    assert_eq!(fleet.ids().await, all, "a dry run changes nothing");

    let report = fleet.pass().await;
    let plan = &report["plan"];
    assert_eq!(deleted(plan), [(all[1].as_str(), "replica_terminated")]);
    assert_eq!(created(plan), 1, "{plan:#}");
    let left = fleet.ids().await;
    assert_eq!(left.len(), 5, "one went, one came");
    assert!(!left.contains(&all[1]));

    // The one that never runs keeps counting: nothing is left to do.
    let settled = |plan: &Value| plan["steps"] == json!([]) && with_status(plan, "healthy") == 3;
    let passes = async || fleet.pass().await["plan"].take();
    let soon = scaling_tests::deployed::SOON;
    scaling_tests::wait::eventually("the new one", soon, passes, settled).await;
    assert_eq!(fleet.ids().await, left);
    fleet.assert_invariants().await;
}
