//! Faults of API calls.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::testing::TestEc2;

async fn last_call(ec2: &TestEc2) -> Value {
    let ledger = ec2.control("ledger").await;
    ledger["calls"].as_array().unwrap().last().unwrap().clone()
}

#[tokio::test]
async fn outage_executes_nothing_and_sends_nothing_until_cleared() {
    let ec2 = TestEc2::new();
    ec2.faults(&json!({"calls": [{"effect": "outage"}]})).await;
    for _ in 0..3 {
        assert!(ec2.launch("1", &[]).await.is_lost);
    }
    let call = last_call(&ec2).await;
    assert_eq!(call["outcome"], "outage");
    assert_eq!(call["status"], 0);
    assert_eq!(call["faults"], json!(["outage"]));
    ec2.faults(&json!({})).await;
    assert!(ec2.call("DescribeInstances", &[]).await.ids().is_empty());
}

#[tokio::test]
async fn outage_of_one_region_ends_after_its_duration() {
    let ec2 = TestEc2::new();
    let outage = json!({"on": {"region": "us-east-1"}, "effect": "outage", "for_ms": 5000});
    ec2.faults(&json!({"calls": [outage]})).await;
    assert!(ec2.call("DescribeInstances", &[]).await.is_lost);
    let elsewhere = ec2.call_in("eu-west-1", "DescribeInstances", &[]).await;
    assert!(!elsewhere.is_lost);
    ec2.wait(2);
    assert_eq!(ec2.control("faults").await["calls"][0]["for_ms"], 3000);
    ec2.wait(3);
    assert_eq!(ec2.control("faults").await["calls"], json!([]));
    assert!(!ec2.call("DescribeInstances", &[]).await.is_lost);
}

#[tokio::test]
async fn launch_with_lost_response_is_found_by_its_token() {
    let ec2 = TestEc2::new();
    let lost = json!({"on": {"action": "RunInstances"}, "effect": "lost", "times": 1});
    ec2.faults(&json!({"calls": [lost]})).await;
    assert!(ec2.launch("2", &[("ClientToken", "t")]).await.is_lost);
    let call = last_call(&ec2).await;
    assert_eq!(call["outcome"], "ok");
    assert_eq!(call["faults"], json!(["lost"]));
    let again = ec2.launch("2", &[("ClientToken", "t")]).await.ids();
    assert_eq!(again, ec2.call("DescribeInstances", &[]).await.ids());
}

#[tokio::test]
async fn calls_with_error_fault_fail_and_execute_nothing() {
    let ec2 = TestEc2::new();
    let calls = json!([
        {"on": {"action": "RunInstances"}, "effect": {"error": "InternalError"}, "times": 2},
        {"on": {"action": "Describe*"}, "effect": {"error": "Unavailable"}, "times": 1},
    ]);
    ec2.faults(&json!({"calls": calls})).await;
    let failed = ec2.launch("1", &[]).await;
    assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(failed.error().0, "InternalError");
    assert_eq!(ec2.control("faults").await["calls"][0]["times"], 1);
    assert_eq!(ec2.launch("1", &[]).await.error().0, "InternalError");
    assert_eq!(last_call(&ec2).await["faults"], json!(["error"]));
    let listing = ec2.call("DescribeInstances", &[]).await;
    assert_eq!(listing.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(listing.error().0, "Unavailable");
    assert!(ec2.call("DescribeInstances", &[]).await.ids().is_empty());
    assert_eq!(ec2.launch("1", &[]).await.ids().len(), 1);
    assert_eq!(ec2.control("faults").await["calls"], json!([]));
}

#[tokio::test]
async fn delayed_call_is_executed_before_its_response() {
    let ec2 = TestEc2::new();
    let slow = |ms: u64| json!({"calls": [{"effect": {"delay_ms": ms}, "times": 1}]});
    ec2.faults(&slow(60_000)).await;
    let launch = ec2.launch("1", &[]);
    let timed_out = tokio::time::timeout(Duration::from_millis(1), launch).await;
    assert!(timed_out.is_err());
    assert_eq!(ec2.call("DescribeInstances", &[]).await.ids().len(), 1);
    ec2.faults(&slow(40)).await;
    let start = Instant::now();
    ec2.launch("1", &[]).await.ids();
    assert!(start.elapsed() >= Duration::from_millis(40));
    assert_eq!(last_call(&ec2).await["faults"], json!(["delay"]));
}

#[tokio::test]
async fn call_with_several_faults_gets_first_of_each_kind() {
    let ec2 = TestEc2::new();
    let calls = json!([{"effect": {"delay_ms": 1}}, {"effect": "lost"}, {"effect": "lost"}]);
    ec2.faults(&json!({"calls": calls})).await;
    assert!(ec2.call("DescribeInstances", &[]).await.is_lost);
    assert_eq!(last_call(&ec2).await["faults"], json!(["delay", "lost"]));
}

#[tokio::test]
async fn requests_over_ec2s_limit_are_throttled() {
    let ec2 = TestEc2::new();
    ec2.faults(&json!({"throttling": {}})).await;
    for _ in 0..5 {
        ec2.launch("1", &[]).await.ids();
    }
    let throttled = ec2.launch("1", &[]).await;
    assert_eq!(throttled.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(throttled.error().0, "RequestLimitExceeded");
    assert_eq!(last_call(&ec2).await["faults"], json!(["throttled"]));
    let left = ec2.control("faults").await["throttling"].clone();
    let bucket = |name: &str| {
        let buckets = left["buckets"].as_array().unwrap();
        buckets.iter().find(|it| it["name"] == name).unwrap()["tokens"].clone()
    };
    assert_eq!(bucket("RunInstances"), 0.0);
    assert_eq!(bucket("RunInstances:instances"), 995.0);
    ec2.wait(1);
    ec2.launch("1", &[]).await.ids();
    ec2.launch("1", &[]).await.ids();
    assert_eq!(ec2.launch("1", &[]).await.error().0, "RequestLimitExceeded");
    ec2.faults(&json!({})).await;
    ec2.launch("1", &[]).await.ids();
}

#[tokio::test]
async fn bucket_set_empty_throttles_first_request() {
    let ec2 = TestEc2::new();
    let empty = |name: &str| {
        let bucket = json!({"region": "us-east-1", "name": name, "tokens": 0});
        json!({"throttling": {"refill": 0, "buckets": [bucket]}})
    };
    ec2.faults(&empty("DescribeInstances")).await;
    assert_eq!(
        ec2.call("DescribeInstances", &[]).await.error().0,
        "RequestLimitExceeded"
    );
    assert!(
        ec2.call_in("eu-west-1", "DescribeInstances", &[])
            .await
            .ids()
            .is_empty()
    );
    let unknown = ec2
        .send_control("PUT", "faults", &empty("LaunchRockets"))
        .await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
    assert!(unknown.body.contains("LaunchRockets"), "{}", unknown.body);
}

#[tokio::test]
async fn listing_with_lag_fault_lags_until_fault_ends() {
    let ec2 = TestEc2::new();
    let lag = json!({"effect": {"listing_lag_ms": 60_000}, "for_ms": 5000});
    ec2.faults(&json!({"calls": [lag]})).await;
    let ids = ec2.launch("1", &[]).await.ids();
    ec2.wait(4);
    assert!(ec2.call("DescribeInstances", &[]).await.ids().is_empty());
    ec2.wait(1);
    assert_eq!(ec2.call("DescribeInstances", &[]).await.ids(), ids);
}

#[tokio::test]
async fn partial_listing_omits_instances_that_are_found_by_id() {
    let ec2 = TestEc2::new();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.extend(ec2.launch("1", &[]).await.ids());
    }
    let leave_out = json!({"effect": {"leave_out": [ids[1]]}, "times": 1});
    ec2.faults(&json!({"calls": [leave_out]})).await;
    let by_id = [("InstanceId.1", ids[1].as_str())];
    assert_eq!(
        ec2.call("DescribeInstances", &by_id).await.ids(),
        ids[1..=1]
    );
    assert_eq!(
        ec2.call("DescribeInstances", &[]).await.ids(),
        [ids[0].clone(), ids[2].clone()]
    );
    assert_eq!(last_call(&ec2).await["faults"], json!(["leave_out"]));
    assert_eq!(ec2.call("DescribeInstances", &[]).await.ids(), ids);

    let oldest = json!({"effect": {"leave_out_oldest": 2}});
    ec2.faults(&json!({"calls": [oldest]})).await;
    assert_eq!(ec2.call("DescribeInstances", &[]).await.ids(), ids[2..]);
}
