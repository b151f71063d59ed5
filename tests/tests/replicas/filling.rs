//! The minimum is created once, however far EC2's list is behind, and again when it is used up.

use scaling_tests::deployed::Deployed;
use serde_json::json;

use crate::fleet::{Fleet, created};
use crate::world::FILLING;

pub(crate) async fn is_done_once(deployed: &Deployed) {
    let fleet = Fleet::new(deployed, FILLING, 6).await;
    let plan = fleet.region.plan().await;
    assert_eq!(created(&plan), 2, "a dry run says so: {plan:#}");
    assert!(fleet.up().await.is_empty(), "and does nothing");

    fleet.pass().await;
    assert_eq!(fleet.up().await.len(), 2);
    // EC2's list does not show them yet: nothing but the open intent knows of them.
    for _ in 0..3 {
        let report = fleet.pass().await;
        assert_eq!(created(&report["plan"]), 0, "{report:#}");
    }
    let report = fleet.at_rest().await;
    assert_eq!(report["plan"]["figures"]["free"], 6, "{report:#}");
    assert_eq!(fleet.region.launched().await.len(), 2, "never more");
    no_agents_token_is_in_the_user_data(&fleet).await;

    for machine in fleet.up().await {
        fleet.tell(&machine, json!({"capacity": 0})).await;
    }
    let report = fleet.pass().await;
    assert_eq!(created(&report["plan"]), 2, "{report:#}");
    fleet.at_rest().await;
    assert_eq!(fleet.up().await.len(), 4, "the used ones are kept");

    // Less than a replica's capacity is missing: that takes one.
    fleet.region.set(&json!({"replica_min_available": 7})).await;
    let report = fleet.pass().await;
    assert_eq!(created(&report["plan"]), 1, "{report:#}");
    fleet.at_rest().await;
    assert_eq!(fleet.region.launched().await.len(), 5);
    fleet.promises_kept().await;
}

async fn no_agents_token_is_in_the_user_data(fleet: &Fleet<'_>) {
    for machine in fleet.up().await {
        let user_data = machine.user_data.unwrap_or_default();
        assert!(user_data.starts_with("SCALING_CAPACITY=3\n"), "{user_data}");
        assert!(!user_data.contains("TOKEN"), "{user_data}");
    }
}
