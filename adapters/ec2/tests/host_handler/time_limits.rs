//! Calls that are slow or never answered.

use std::time::Duration;

use serde_json::{Value, json};
use shared::host::HostErrorKind;
use shared::ids::ClientToken;

use crate::{Ec2, ids, request};

/// The first call of this action has this effect.
fn first_call(action: &str, effect: &Value) -> Value {
    json!({"calls": [{"on": {"action": action}, "effect": effect, "times": 1}]})
}

#[tokio::test]
async fn look_up_that_hangs_is_repeated_within_the_limit_of_the_call() {
    let ec2 = Ec2::start().await;
    let launched = ec2.launch(&request(1)).await;
    ec2.faults(&first_call("DescribeInstances", &json!("hang")))
        .await;
    let host = ec2.with_call_limit(Duration::from_secs(9));
    assert_eq!(ids(&host.list().await.unwrap()), ids(&launched));
    let calls = ec2.calls("DescribeInstances").await;
    let outcomes: Vec<_> = calls.iter().map(|call| &call["outcome"]).collect();
    assert_eq!(outcomes, ["hang", "ok"]);
}

#[tokio::test]
async fn slow_launch_is_not_given_up_before_the_limit_of_the_call() {
    let ec2 = Ec2::start().await;
    // More than the third of the limit that an attempt has which may be repeated.
    ec2.faults(&first_call("RunInstances", &json!({"delay_ms": 3_500})))
        .await;
    let host = ec2.with_call_limit(Duration::from_secs(9));
    let launched = host.launch(&ClientToken::random(), &request(1)).await;
    assert_eq!(launched.unwrap().len(), 1);
    assert_eq!(ec2.calls("RunInstances").await.len(), 1);
}

#[tokio::test]
async fn launch_that_hangs_is_unclear_after_the_limit_of_the_call() {
    let ec2 = Ec2::start().await;
    ec2.faults(&first_call("RunInstances", &json!("hang")))
        .await;
    let host = ec2.with_call_limit(Duration::from_secs(3));
    let launched = host.launch(&ClientToken::random(), &request(1)).await;
    assert_eq!(launched.unwrap_err().kind, HostErrorKind::Unclear);
    assert_eq!(ec2.calls("RunInstances").await.len(), 1);
}
