//! Surplus replicas stay unless a setting says otherwise. Replicas in use always stay.

use scaling_tests::deployed::Deployed;
use serde_json::json;

use crate::fleet::{Fleet, deleted};
use crate::world::TRIMMING;

pub(crate) async fn removes_idle_replicas(deployed: &Deployed) {
    let fleet = Fleet::filled(deployed, TRIMMING, 12).await;
    let four = fleet.up().await;
    // The oldest is in use and stays.
    fleet.set_answer(&four[0], json!({"capacity": 2})).await;
    fleet.region.set(&json!({"replica_min_available": 4})).await;
    let report = fleet.pass().await;
    assert!(deleted(&report["plan"]).is_empty(), "off: {report:#}");

    fleet.region.set(&json!({"replica_trim": true})).await;
    let report = fleet.pass().await;
    // 2 + 3 + 3 + 3 are 11: without two of them 5 are left, and without three less than 4.
    let plan = &report["plan"];
    let gone = deleted(plan);
    assert_eq!(gone.len(), 2, "{plan:#}");
    for (id, reason) in gone {
        assert_eq!(reason, "replica_surplus", "{plan:#}");
        assert_ne!(id, four[0].id, "in use: {plan:#}");
    }
    fleet.at_rest().await;
    let left = fleet.ids().await;
    assert_eq!(left.len(), 2);
    assert!(left.contains(&four[0].id));
    fleet.assert_invariants().await;
}
