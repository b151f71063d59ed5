//! EC2 has no capacity in the subnet of the first choices.

use scaling_tests::deployed::Deployed;
use serde_json::json;

use scaling_tests::region::Region;

pub(crate) const SCARCE: &str = "eu-west-1";
const FIRST: &str = "subnet-04a0000000000000a";
const SECOND: &str = "subnet-04b0000000000000b";
const SPOT: &str = "spot";
const ON_DEMAND: &str = "on demand";
const NO_ROOM: &str = "InsufficientInstanceCapacity";

pub(crate) async fn next_choice_is_used_without_capacity(deployed: &Deployed) {
    let region = Region {
        deployed,
        name: SCARCE,
    };
    let choice = |subnet| json!({"instance_type": "m6i.large", "capacity": 2, "subnet_id": subnet});
    let mut spot = choice(FIRST);
    spot["spot"] = json!(true);
    let choices = [spot, choice(FIRST), choice(SECOND)];
    let settings = json!({"launch_choices": choices, "scale_up_step": 0});
    region.insert(settings).await;
    region.set_image("ami-04000000000000001", "CURRENT").await;
    let full = json!({"capacity": [{"subnet_id": FIRST, "available": 0}]});
    deployed.set_faults(&full).await;

    let report = region.reconcile().await;
    assert!(
        report.to_string().contains(NO_ROOM),
        "the refusal is reported: {report:#}"
    );
    region.filled_to(4).await;
    // Two instances are missing, and each is requested by itself.
    let refused = [
        [(SPOT, FIRST, NO_ROOM); 2],
        [(ON_DEMAND, FIRST, NO_ROOM); 2],
    ]
    .concat();
    let launched = [(ON_DEMAND, SECOND, "ok"); 2];
    let expected = [&refused[..], &launched].concat();
    assert_eq!(launches(&region).await, expected);
    let keys = deployed.region_state(SCARCE).await;
    for market in ["spot#", ""] {
        let refusal = format!("REFUSAL#{market}m6i.large#{FIRST}");
        assert!(keys.contains(&refusal), "{keys:?}");
    }

    // The refusal is remembered: the next launch skips that choice, although there is capacity
    // again.
    deployed.set_faults(&json!({})).await;
    region.set(&json!({"target_free": 6})).await;
    let report = region.reconcile().await;
    assert_eq!(report["outcome"], "done", "{report:#}");
    region.filled_to(6).await;
    let expected = [&expected[..], &launched[..1]].concat();
    assert_eq!(launches(&region).await, expected);
    assert!(region.open_intents().await.is_empty());
    assert_eq!(region.machines().await, region.rows().await);
}

/// The market, subnet and outcome of each launch request, in order.
async fn launches(region: &Region<'_>) -> Vec<(&'static str, &'static str, &'static str)> {
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
            let market = match call.params.get("InstanceMarketOptions.MarketType") {
                Some(market) if market == SPOT => SPOT,
                Some(_) => "another market",
                None => ON_DEMAND,
            };
            let subnet = subnet.unwrap_or("elsewhere");
            (market, subnet, outcome.unwrap_or("other"))
        })
        .collect()
}
