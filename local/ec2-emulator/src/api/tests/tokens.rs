//! The client token of `RunInstances`.

use serde_json::json;

use crate::testing::{SUBNET_A, SUBNET_B, TestEc2};

const TOKEN: (&str, &str) = ("ClientToken", "intent-1");

#[tokio::test]
async fn repeated_request_under_token_finds_same_instances() {
    let ec2 = TestEc2::new();
    let first = ec2.launch("2", &[TOKEN]).await.ids();
    ec2.wait(60);
    let again = ec2.launch("2", &[TOKEN]).await;
    assert_eq!(again.ids(), first);
    // The response has their current states.
    assert_eq!(again.texts("name"), ["running", "running"]);
    assert_eq!(
        ec2.launch("2", &[]).await.ids().len(),
        2,
        "a request without a token launches new instances"
    );
    assert_eq!(
        ec2.control("ledger").await["instances"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
}

#[tokio::test]
async fn token_finds_its_instances_without_capacity() {
    let ec2 = TestEc2::new();
    let first = ec2.launch("1-3", &[TOKEN]).await.ids();
    ec2.send_control("PUT", "faults", &json!({"capacity": [{"available": 0}]}))
        .await;
    assert_eq!(ec2.launch("1-3", &[TOKEN]).await.ids(), first);
}

#[tokio::test]
async fn other_parameters_under_token_are_rejected() {
    let ec2 = TestEc2::new();
    ec2.launch("1", &[TOKEN]).await.ids();
    for other in [
        ("InstanceType", "g5.xlarge"),
        ("UserData", "eA=="),
        ("MaxCount", "2"),
    ] {
        let reply = ec2.launch("1", &[TOKEN, other]).await;
        assert_eq!(reply.error().0, "IdempotentParameterMismatch", "{other:?}");
    }
}

#[tokio::test]
async fn capacity_error_binds_parameters_but_not_outcome() {
    let ec2 = TestEc2::new();
    ec2.send_control("PUT", "faults", &json!({"capacity": [{"available": 0}]}))
        .await;
    assert_eq!(
        ec2.launch("1", &[TOKEN]).await.error().0,
        "InsufficientInstanceCapacity"
    );
    let other = ec2
        .launch("1", &[TOKEN, ("InstanceType", "g5.xlarge")])
        .await;
    assert_eq!(other.error().0, "IdempotentParameterMismatch");
    ec2.send_control("PUT", "faults", &json!({})).await;
    assert_eq!(ec2.launch("1", &[TOKEN]).await.ids().len(), 1);
}

#[tokio::test]
async fn rejected_request_does_not_bind_token() {
    let ec2 = TestEc2::new();
    let bad = ec2
        .launch("1", &[TOKEN, ("ImageId", "ami-00000000000000099")])
        .await;
    assert_eq!(bad.error().0, "InvalidAMIID.NotFound");
    ec2.launch("1", &[TOKEN]).await.ids();
}

#[tokio::test]
async fn token_of_terminated_launch_is_rejected_forever() {
    let ec2 = TestEc2::new();
    let ids = ec2.launch("2", &[TOKEN]).await.ids();
    ec2.call("TerminateInstances", &[("InstanceId.1", &ids[0])])
        .await;
    let shutting_down = ec2.launch("2", &[TOKEN]).await;
    assert_eq!(shutting_down.ids(), ids, "not terminated yet");
    ec2.wait(20);
    let reply = ec2.launch("2", &[TOKEN]).await;
    assert_eq!(reply.error().0, "IdempotentInstanceTerminated");
    ec2.wait(100 * 3600);
    let reply = ec2.launch("2", &[TOKEN]).await;
    assert_eq!(
        reply.error().0,
        "IdempotentInstanceTerminated",
        "even after EC2 no longer knows the instance"
    );
    // The instance that was not terminated is found by the token.
    let found = ec2.call(
        "DescribeInstances",
        &[
            ("Filter.1.Name", "client-token"),
            ("Filter.1.Value.1", TOKEN.1),
        ],
    );
    assert_eq!(found.await.ids(), [ids[1].clone()]);
}

#[tokio::test]
async fn token_of_launch_with_subnet_is_scoped_to_zone() {
    let ec2 = TestEc2::new();
    let a = ec2
        .launch("1", &[TOKEN, ("SubnetId", SUBNET_A)])
        .await
        .ids();
    let b = ec2
        .launch("1", &[TOKEN, ("SubnetId", SUBNET_B)])
        .await
        .ids();
    assert_ne!(a, b);
    // In the same zone it is the same token, but another subnet is another parameter.
    let same_zone = ec2
        .launch("1", &[TOKEN, ("SubnetId", "subnet-01d0000000000000d")])
        .await;
    assert_eq!(same_zone.error().0, "IdempotentParameterMismatch");
}

#[tokio::test]
async fn token_longer_than_64_or_not_ascii_is_rejected() {
    let ec2 = TestEc2::new();
    for bad in ["x".repeat(65), "ü".to_owned()] {
        let reply = ec2.launch("1", &[("ClientToken", &bad)]).await;
        assert_eq!(reply.error().0, "InvalidParameterValue");
    }
}
