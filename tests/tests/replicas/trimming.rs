//! What is superfluous stays, unless a setting says otherwise; what is in use always does.

use scaling_tests::deployed::Deployed;
use serde_json::json;

use crate::fleet::{Fleet, deleted};
use crate::world::TRIMMING;

pub(crate) async fn takes_the_idle(deployed: &Deployed) {
    let fleet = Fleet::filled(deployed, TRIMMING, 12).await;
    let four = fleet.up().await;
    // In use: it is the oldest, and does not go.
    fleet.tell(&four[0], json!({"capacity": 2})).await;
    fleet.region.set(&json!({"replica_min_available": 4})).await;
    let report = fleet.pass().await;
    assert!(deleted(&report["plan"]).is_empty(), "off: {report:#}");

    fleet.region.set(&json!({"replica_trim": true})).await;
    let report = fleet.pass().await;
    // 2 + 3 + 3 + 3 are 11: without two of them it is 5, and without three less than 4.
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
    fleet.promises_kept().await;
}
