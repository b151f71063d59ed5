//! EC2 has no capacity: for one type, then for any, then has it again.

use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::region::Region;
use scaling_tests::wait::eventually;
use serde_json::json;

use crate::agents::leave_alone;
use crate::logged_errors::{event_logs, pass_logs};
use crate::world::{CAPACITY, choice, filled, subnet};

const NO_ROOM: &str = "InsufficientInstanceCapacity";
const NOWHERE: &str = "EC2 has no capacity for any launch choice";

pub(crate) async fn is_found_elsewhere_or_waited_for(deployed: &Deployed) {
    let scarce = json!({"capacity": [
        {"region": CAPACITY, "instance_type": "m6i.large", "available": 0},
    ]});
    deployed.set_faults(&scarce).await;
    let settings = json!({
        "target_free": 2,
        "max_instances": 3,
        "launch_choices": [
            // In both subnets.
            {
                "instance_type": "m6i.large",
                "capacity": 2,
                "subnet_tag": {"key": "scaling", "value": "hosts"},
            },
            choice(CAPACITY, 'a', "c6i.large", 2),
        ],
    });
    let region = filled(deployed, CAPACITY, 2, settings).await;
    next_choice_was_requested(&region).await;
    refusal_everywhere_is_reported_and_remembered(&region).await;
    some_capacity_is_used_and_the_rest_requested_later(&region).await;
    region.assert_invariants().await;
    leave_alone(&region).await;
}

async fn launch_attempts(region: &Region<'_>) -> Vec<[String; 3]> {
    let calls = region.calls("RunInstances").await;
    let of = |call: &scaling_tests::ledger::Call| {
        let param = |name: &str| call.params[name].clone();
        [
            param("InstanceType"),
            param("SubnetId"),
            call.outcome.clone(),
        ]
    };
    calls.iter().map(of).collect()
}

async fn next_choice_was_requested(region: &Region<'_>) {
    let [a, b] = ['a', 'b'].map(|zone| subnet(CAPACITY, zone));
    let expected = [
        ["m6i.large", &a, NO_ROOM],
        ["m6i.large", &b, NO_ROOM],
        ["c6i.large", &a, "ok"],
    ];
    assert_eq!(launch_attempts(region).await, expected);
}

async fn refusal_everywhere_is_reported_and_remembered(region: &Region<'_>) {
    let deployed = region.deployed;
    let none = json!({"capacity": [{"region": CAPACITY, "available": 0}]});
    deployed.set_faults(&none).await;
    for user in ["ann", "bob"] {
        region.assigned(user).await;
    }
    region.wait_until_settled_by_events().await;
    // The refusal of this type is recent, so it is not requested again.
    assert_eq!(
        launch_attempts(region).await.len(),
        4,
        "one attempt for two users"
    );
    assert_eq!(launch_attempts(region).await[3][0], "c6i.large");
    event_logs(region, NOWHERE).await;

    region.refused("cid", "NO_INSTANCE_AVAILABLE").await;
    region.wait_until_settled_by_events().await;
    for _ in 0..3 {
        let report = pass_logs(region, NOWHERE).await;
        assert_eq!(report["outcome"], "incomplete", "{report:#}");
        assert_eq!(report["plan"]["figures"]["waiting"], 1, "{report:#}");
    }
    assert_eq!(
        launch_attempts(region).await.len(),
        4,
        "the refusal is remembered"
    );
}

/// Nothing but the refused user's retries causes passes.
async fn some_capacity_is_used_and_the_rest_requested_later(region: &Region<'_>) {
    let one = json!({"capacity": [{"region": CAPACITY, "available": 1}]});
    region.deployed.set_faults(&one).await;
    let before = launch_attempts(region).await.len();
    expire_refusals(region).await;
    let served = async || region.assign("cid", "1").await.status;
    eventually("a slot", SOON, served, |status| *status == 200).await;
    region.wait_until_settled_by_events().await;
    let attempts = launch_attempts(region).await.split_off(before);
    let [mut first, mut second] = [&attempts[0], &attempts[1]].map(|attempt| &attempt[..]);
    if first[2] != "ok" {
        std::mem::swap(&mut first, &mut second);
    }
    let a = subnet(CAPACITY, 'a');
    assert_eq!(first, ["m6i.large", &a, "ok"]);
    assert_eq!(second, ["m6i.large", &a, NO_ROOM], "two were requested");
    assert_eq!(region.machines().await.len(), 2, "EC2 had one");

    region.deployed.set_faults(&json!({})).await;
    expire_refusals(region).await;
    region.settle().await;
    assert_eq!(region.free().await, 3);
}

/// Expires the refusals, as three minutes would.
async fn expire_refusals(region: &Region<'_>) {
    let deployed = region.deployed;
    for item in deployed.items(&format!("REGION#{}", region.name)).await {
        if item["sk"].as_s().is_ok_and(|sk| sk.starts_with("REFUSAL#")) {
            let key = ["pk", "sk"].map(|name| (name.to_owned(), item[name].clone()));
            deployed
                .dynamodb()
                .delete_item()
                .table_name(&deployed.stack.env().scaling_table)
                .set_key(Some(key.into()))
                .send()
                .await
                .expect("the refusal is deleted");
        }
    }
}
