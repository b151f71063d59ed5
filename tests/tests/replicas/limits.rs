//! The maximum, and a paused region.

use scaling_tests::deployed::Deployed;
use scaling_tests::plans::alerts_to;
use serde_json::json;

use crate::fleet::{Fleet, created, deleted, views};
use crate::world::LIMITS;

pub(crate) async fn are_kept(deployed: &Deployed) {
    let fleet = Fleet::new(deployed, LIMITS, 30).await;
    fleet.region.set(&json!({"max_instances": 3})).await;
    let report = fleet.pass().await;
    assert_eq!(created(&report["plan"]), 3, "{report:#}");
    assert!(
        alerts_to(&report["plan"], "replicas_at_maximum"),
        "{report:#}"
    );
    fleet.at_rest().await;
    assert_eq!(fleet.region.launched().await.len(), 3);

    paused_region_does_nothing(&fleet).await;
    fleet.assert_invariants().await;
}

async fn paused_region_does_nothing(fleet: &Fleet<'_>) {
    let three = fleet.up().await;
    fleet
        .region
        .set(&json!({"paused": true, "max_instances": 9}))
        .await;
    fleet
        .set_answer(&three[0], json!({"termination": true}))
        .await;
    for _ in 0..2 {
        let report = fleet.pass().await;
        let plan = &report["plan"];
        assert_eq!(plan["steps"], json!([]), "{plan:#}");
        let view = views(plan)[three[0].id.as_str()];
        assert_eq!(view["decided"], "kept: the region is paused");
    }
    assert_eq!(fleet.region.launched().await.len(), 3);

    let back = json!({"paused": false, "replica_min_available": 9});
    fleet.region.set(&back).await;
    let report = fleet.pass().await;
    assert_eq!(deleted(&report["plan"]).len(), 1, "{report:#}");
    assert_eq!(created(&report["plan"]), 1, "{report:#}");
    fleet.at_rest().await;
    assert_eq!(fleet.up().await.len(), 3);
}
