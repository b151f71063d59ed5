//! The minimum is created once, however late EC2's listing is, and again when it is used up.

use scaling_tests::deployed::Deployed;
use serde_json::json;

use crate::fleet::{Fleet, created};
use crate::world::FILLING;

pub(crate) async fn creates_the_minimum_once(deployed: &Deployed) {
    let fleet = Fleet::new(deployed, FILLING, 6).await;
    let plan = fleet.region.plan().await;
    assert_eq!(created(&plan), 2, "a dry run plans it: {plan:#}");
    assert!(fleet.up().await.is_empty(), "and does nothing");

    fleet.pass().await;
    assert_eq!(fleet.up().await.len(), 2);
    // EC2's listing does not show them yet: only the open intent does.
    for _ in 0..3 {
        let report = fleet.pass().await;
        assert_eq!(created(&report["plan"]), 0, "{report:#}");
    }
    let report = fleet.at_rest().await;
    assert_eq!(report["plan"]["figures"]["free"], 6, "{report:#}");
    assert_eq!(fleet.region.launched().await.len(), 2, "never more");
    user_data_has_no_agent_token(&fleet).await;

    for machine in fleet.up().await {
        fleet.set_answer(&machine, json!({"capacity": 0})).await;
    }
    let report = fleet.pass().await;
    assert_eq!(created(&report["plan"]), 2, "{report:#}");
    fleet.at_rest().await;
    assert_eq!(fleet.up().await.len(), 4, "the used ones are kept");

    // Less than one replica's capacity is missing, which takes one replica.
    fleet.region.set(&json!({"replica_min_available": 7})).await;
    let report = fleet.pass().await;
    assert_eq!(created(&report["plan"]), 1, "{report:#}");
    fleet.at_rest().await;
    assert_eq!(fleet.region.launched().await.len(), 5);
    fleet.assert_invariants().await;
}

async fn user_data_has_no_agent_token(fleet: &Fleet<'_>) {
    for machine in fleet.up().await {
        let user_data = machine.user_data.unwrap_or_default();
        assert!(user_data.starts_with("SCALING_CAPACITY=3\n"), "{user_data}");
        assert!(!user_data.contains("TOKEN"), "{user_data}");
    }
}
