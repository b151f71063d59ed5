//! EC2 has no room in the first choice's subnet.

use scaling_tests::deployed::Deployed;
use serde_json::json;

use scaling_tests::region::Region;

pub(crate) const SCARCE: &str = "eu-west-1";
const FIRST: &str = "subnet-04a0000000000000a";
const SECOND: &str = "subnet-04b0000000000000b";
const NO_ROOM: &str = "InsufficientInstanceCapacity";

pub(crate) async fn without_room_the_next_choice_is_used(deployed: &Deployed) {
    let region = Region {
        deployed,
        name: SCARCE,
    };
    let choice = |subnet| json!({"instance_type": "m6i.large", "capacity": 2, "subnet_id": subnet});
    let choices = [choice(FIRST), choice(SECOND)];
    let settings = json!({"launch_choices": choices, "scale_up_step": 0});
    region.insert(settings).await;
    region.set_image("ami-04000000000000001", "CURRENT").await;
    let full = json!({"capacity": [{"subnet_id": FIRST, "available": 0}]});
    deployed.set_faults(&full).await;

    let report = region.reconcile().await;
    assert!(
        report.to_string().contains(NO_ROOM),
        "it is told: {report:#}"
    );
    region.filled_to(4).await;
    assert_eq!(launches(&region).await, [(FIRST, NO_ROOM), (SECOND, "ok")]);
    let refusal = format!("REFUSAL#m6i.large#{FIRST}");
    let memory = deployed.memory(SCARCE).await;
    assert!(memory.contains(&refusal), "{memory:?}");

    // Remembered: the next launch does not ask there again, although there is room by now.
    deployed.set_faults(&json!({})).await;
    region.set(&json!({"target_free": 6})).await;
    let report = region.reconcile().await;
    assert_eq!(report["outcome"], "done", "{report:#}");
    region.filled_to(6).await;
    let expected = [(FIRST, NO_ROOM), (SECOND, "ok"), (SECOND, "ok")];
    assert_eq!(launches(&region).await, expected);
    assert!(region.open_intents().await.is_empty());
    assert_eq!(region.machines().await, region.rows().await);
}

/// Where instances were asked for, and with what outcome, in order.
async fn launches(region: &Region<'_>) -> Vec<(&'static str, &'static str)> {
    let ledger = region.deployed.ledger().await;
    let calls = ledger.calls("RunInstances");
    calls
        .filter(|call| call.region == region.name)
        .map(|call| {
            let subnet = [FIRST, SECOND]
                .into_iter()
                .find(|id| call.params["SubnetId"] == *id);
            let outcome = [NO_ROOM, "ok"]
                .into_iter()
                .find(|outcome| call.outcome == *outcome);
            (subnet.unwrap_or("elsewhere"), outcome.unwrap_or("other"))
        })
        .collect()
}
