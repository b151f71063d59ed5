//! Launches of spot instances.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::testing::{SUBNET_A, TestEc2};

const MARKET: (&str, &str) = ("InstanceMarketOptions.MarketType", "spot");
const TYPE: &str = "InstanceMarketOptions.SpotOptions.SpotInstanceType";
const BEHAVIOR: &str = "InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior";

async fn markets(ec2: &TestEc2) -> Vec<Value> {
    let ledger = ec2.control("ledger").await;
    let instances = ledger["instances"].as_array().unwrap();
    instances.iter().map(|it| it["market"].clone()).collect()
}

#[tokio::test]
async fn spot_instance_is_described_as_spot() {
    let ec2 = TestEc2::new();
    let spot = ec2
        .launch("2", &[MARKET, (TYPE, "one-time"), (BEHAVIOR, "terminate")])
        .await;
    let ids = spot.ids();
    assert_eq!(spot.texts("instanceLifecycle"), ["spot", "spot"]);
    let requests = spot.texts("spotInstanceRequestId");
    assert_eq!(requests.len(), 2);
    assert_ne!(
        requests[0], requests[1],
        "each instance has its own request"
    );
    let on_demand = ec2.launch("1", &[]).await;
    assert!(!on_demand.body.contains("instanceLifecycle"));
    assert!(!on_demand.body.contains("spotInstanceRequestId"));
    assert_eq!(markets(&ec2).await, ["spot", "spot", "on-demand"]);

    for (name, value, found) in [
        ("instance-lifecycle", "spot", &ids[..]),
        ("spot-instance-request-id", requests[1], &ids[1..]),
    ] {
        let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        let listed = ec2.call("DescribeInstances", &filter).await;
        assert_eq!(listed.ids(), found, "{name}");
    }
}

#[tokio::test]
async fn spot_launch_without_options_is_one_time() {
    let ec2 = TestEc2::new();
    assert_eq!(ec2.launch("1", &[MARKET]).await.ids().len(), 1);
    assert_eq!(markets(&ec2).await, ["spot"]);
}

#[tokio::test]
async fn invalid_or_unsupported_spot_options_are_rejected() {
    let ec2 = TestEc2::new();
    let block = ("InstanceMarketOptions.MarketType", "capacity-block");
    let price = ("InstanceMarketOptions.SpotOptions.MaxPrice", "0.05");
    let typo = (
        "InstanceMarketOptions.SpotOption.SpotInstanceType",
        "one-time",
    );
    for (params, code, text) in [
        (&[block][..], "InvalidParameterValue", "capacity-block"),
        (&[(TYPE, "one-time")], "MissingParameter", "MarketType"),
        (&[MARKET, (TYPE, "often")], "InvalidParameterValue", "often"),
        (
            &[MARKET, (BEHAVIOR, "explode")],
            "InvalidParameterValue",
            "explode",
        ),
        (
            &[MARKET, (BEHAVIOR, "stop")],
            "InvalidParameterCombination",
            "'one-time'",
        ),
        (
            &[MARKET, (TYPE, "persistent"), (BEHAVIOR, "terminate")],
            "InvalidParameterCombination",
            "persistent",
        ),
        (
            &[MARKET, (TYPE, "persistent")],
            "InvalidParameterCombination",
            "terminate",
        ),
        (
            &[MARKET, (TYPE, "persistent"), (BEHAVIOR, "stop")],
            "UnsupportedOperation",
            "restart an instance",
        ),
        (
            &[MARKET, (BEHAVIOR, "hibernate")],
            "UnsupportedOperation",
            "restart an instance",
        ),
        (&[MARKET, price], "UnknownParameter", "SpotOptions.MaxPrice"),
        (
            &[MARKET, typo],
            "UnknownParameter",
            "SpotOption.SpotInstanceType",
        ),
    ] {
        let reply = ec2.launch("1", params).await;
        let (actual, message) = reply.error();
        assert_eq!(actual, code, "{params:?}: {message}");
        assert!(message.contains(text), "{params:?}: {message}");
    }
    assert_eq!(markets(&ec2).await, [Value::Null; 0]);
}

#[tokio::test]
async fn spot_capacity_is_limited_separately() {
    let ec2 = TestEc2::new();
    let limit = json!({"market": "spot", "subnet_id": SUBNET_A, "available": 1});
    ec2.faults(&json!({"capacity": [limit]})).await;
    assert_eq!(ec2.launch("1-3", &[MARKET]).await.ids().len(), 1);
    let none = ec2.launch("1-3", &[MARKET]).await;
    assert_eq!(none.status, StatusCode::INTERNAL_SERVER_ERROR);
    let (code, message) = none.error();
    assert_eq!(code, "InsufficientInstanceCapacity");
    assert!(message.contains("Spot capacity"), "{message}");
    assert_eq!(ec2.launch("3", &[]).await.ids().len(), 3);

    let limit = json!({"market": "on-demand", "available": 0});
    ec2.faults(&json!({"capacity": [limit]})).await;
    assert_eq!(ec2.launch("1", &[MARKET]).await.ids().len(), 1);
    let none = ec2.launch("1", &[]).await;
    assert_eq!(none.error().0, "InsufficientInstanceCapacity");
}

#[tokio::test]
async fn token_is_bound_to_market() {
    let ec2 = TestEc2::new();
    let token = ("ClientToken", "t");
    let first = ec2.launch("1", &[MARKET, token]).await.ids();
    assert_eq!(ec2.launch("1", &[MARKET, token]).await.ids(), first);
    let other = ec2.launch("1", &[token]).await;
    assert_eq!(other.error().0, "IdempotentParameterMismatch");
}
