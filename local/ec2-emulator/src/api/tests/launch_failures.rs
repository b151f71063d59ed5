//! State reasons, launches that fail after EC2 accepted them, and faults of matching instances.

use serde_json::{Value, json};

use crate::testing::{SUBNET_A, SUBNET_B, TestEc2};

const SPOT: (&str, &str) = ("InstanceMarketOptions.MarketType", "spot");

async fn events(ec2: &TestEc2) -> Vec<(String, String)> {
    let ledger = ec2.control("ledger").await;
    let event = |it: &Value| {
        let detail = &it["event"]["detail"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (
            text(&detail["instance-id"]),
            match text(&detail["state"]) {
                state if state.is_empty() => text(&it["event"]["detail-type"]),
                state => state,
            },
        )
    };
    ledger["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(event)
        .collect()
}

async fn describe(ec2: &TestEc2, id: &str) -> crate::testing::Reply {
    ec2.call("DescribeInstances", &[("InstanceId.1", id)]).await
}

fn reason(code: &str, message: &str) -> String {
    format!("<stateReason><code>{code}</code><message>{message}</message></stateReason>")
}

#[tokio::test]
async fn state_reason_follows_state() {
    let ec2 = TestEc2::new();
    let launched = ec2.launch("1", &[]).await;
    assert!(launched.body.contains(&reason("pending", "pending")));
    let id = launched.ids().remove(0);
    ec2.wait(10);
    let running = describe(&ec2, &id).await;
    assert!(!running.body.contains("stateReason"));
    assert_eq!(running.text("reason"), "");

    ec2.call("TerminateInstances", &[("InstanceId.1", &id)])
        .await;
    let ended = describe(&ec2, &id).await;
    assert!(ended.body.contains(&reason(
        "Client.UserInitiatedShutdown",
        "Client.UserInitiatedShutdown: User initiated shutdown"
    )));
    assert_eq!(
        ended.text("reason"),
        "User initiated (2026-11-21 18:00:10 GMT)"
    );
}

#[tokio::test]
async fn interrupted_instance_ends_for_spots_reason() {
    for (action, code, message) in [
        (
            "terminate",
            "Server.SpotInstanceTermination",
            "Spot instance termination",
        ),
        (
            "stop",
            "Server.SpotInstanceShutdown",
            "Spot instance shutdown",
        ),
    ] {
        let ec2 = TestEc2::new();
        let effect = json!({"interrupt": {"warning_ms": 0, "action": action}});
        ec2.faults(&json!({"instances": [{"effect": effect}]}))
            .await;
        let id = ec2.launch("1", &[SPOT]).await.ids().remove(0);
        ec2.wait(10);
        let ended = describe(&ec2, &id).await;
        let expected = reason(code, &format!("{code}: {message}"));
        assert!(ended.body.contains(&expected), "{}", ended.body);
        assert_eq!(
            ended.text("reason"),
            "Service initiated (2026-11-21 18:00:10 GMT)"
        );
    }
}

#[tokio::test]
async fn failed_launch_goes_from_pending_to_terminated_with_its_reason() {
    for (name, code, message) in [
        (
            "Server.InsufficientInstanceCapacity",
            "Server.InsufficientInstanceCapacity",
            "Insufficient capacity to satisfy instance request",
        ),
        (
            "Server.InternalError",
            "Server.InternalError",
            "Internal error on launch",
        ),
        (
            "Server.SpotInstanceTermination",
            "Server.SpotInstanceTermination",
            "Spot instance termination",
        ),
        (
            "Client.InternalError",
            "Client.InternalError",
            "Client error on launch",
        ),
        (
            "Client.VolumeLimitExceeded",
            "Server.InternalError",
            "Volume limit exceeded",
        ),
        (
            "Client.InvalidSnapshot.NotFound",
            "Client.InvalidSnapshot.NotFound",
            "The specified snapshot was not found",
        ),
    ] {
        let ec2 = TestEc2::new();
        let effect = json!({"launch_fails": {"after_ms": 3000, "reason": name}});
        ec2.faults(&json!({"instances": [{"effect": effect, "times": 1}]}))
            .await;
        let launched = ec2.launch("1", &[]).await;
        assert_eq!(launched.text("name"), "pending", "the launch is accepted");
        let id = launched.ids().remove(0);
        ec2.wait(3);
        let ended = describe(&ec2, &id).await;
        assert_eq!(ended.text("name"), "terminated");
        let expected = reason(code, &format!("{name}: {message}"));
        assert!(ended.body.contains(&expected), "{name}: {}", ended.body);
        let states: Vec<_> = events(&ec2)
            .await
            .into_iter()
            .map(|(_, state)| state)
            .collect();
        assert_eq!(states, ["pending", "terminated"]);
        let instance = ec2.control("ledger").await["instances"][0].clone();
        assert_eq!(instance["ended_by"], "launch");
        assert_eq!(instance["state_reason"]["code"], code);
    }
}

#[tokio::test]
async fn launch_that_fails_after_start_shuts_down_first() {
    let ec2 = TestEc2::new();
    let effect = json!({"launch_fails": {"after_ms": 12_000, "reason": "Server.InternalError"}});
    ec2.faults(&json!({"instances": [{"effect": effect}]}))
        .await;
    let id = ec2.launch("1", &[]).await.ids().remove(0);
    ec2.wait(12);
    let ended = describe(&ec2, &id).await;
    assert_eq!(ended.text("name"), "shutting-down");
    assert_eq!(ended.text("reason"), "Server.InternalError");
    ec2.wait(20);
    let states: Vec<_> = events(&ec2)
        .await
        .into_iter()
        .map(|(_, state)| state)
        .collect();
    assert_eq!(
        states,
        ["pending", "running", "shutting-down", "terminated"]
    );
}

#[tokio::test]
async fn only_matching_launches_fail_and_only_as_often_as_requested() {
    let ec2 = TestEc2::new();
    let fault = json!({
        "on": {"market": "spot", "instance_type": "g4dn.xlarge", "subnet_id": SUBNET_A},
        "effect": {"launch_fails": {"reason": "Server.InsufficientInstanceCapacity"}},
        "times": 2,
    });
    ec2.faults(&json!({"instances": [fault]})).await;
    let others = [
        ec2.launch("1", &[]).await,
        ec2.launch("1", &[SPOT, ("InstanceType", "g5.xlarge")])
            .await,
        ec2.launch("1", &[SPOT, ("SubnetId", SUBNET_B)]).await,
    ];
    for other in others {
        assert_eq!(other.text("name"), "pending");
    }
    let matching = ec2.launch("3", &[SPOT]).await;
    assert_eq!(
        matching.texts("name"),
        ["terminated", "terminated", "pending"]
    );
    assert_eq!(ec2.control("faults").await["instances"], json!([]));
}

#[tokio::test]
async fn launch_failure_of_named_instance_applies_while_it_is_pending() {
    let ec2 = TestEc2::new();
    let ids = ec2.launch("2", &[]).await.ids();
    let fault = json!({
        "on": {"instance_id": ids[1]},
        "effect": {"launch_fails": {"after_ms": 1000, "reason": "Client.InternalError"}},
    });
    ec2.faults(&json!({"instances": [fault]})).await;
    ec2.wait(1);
    let names = ec2.call("DescribeInstances", &[]).await;
    assert_eq!(names.texts("name"), ["pending", "terminated"]);
}

#[tokio::test]
async fn every_matching_spot_instance_is_recommended_for_rebalance_after_its_start() {
    let ec2 = TestEc2::new();
    let fault = json!({
        "on": {"market": "spot", "zone": "us-east-1b"},
        "effect": {"rebalance": {"after_ms": 4000}},
    });
    ec2.faults(&json!({"instances": [fault]})).await;
    let mut expected = ec2.launch("2", &[SPOT, ("SubnetId", SUBNET_B)]).await.ids();
    ec2.launch("1", &[SPOT]).await;
    ec2.launch("1", &[("SubnetId", SUBNET_B)]).await;
    ec2.wait(5);
    expected.extend(ec2.launch("1", &[SPOT, ("SubnetId", SUBNET_B)]).await.ids());
    let recommended = || async {
        let events = events(&ec2).await.into_iter();
        let recommendations = events.filter(|(_, kind)| kind.ends_with("Rebalance Recommendation"));
        recommendations.map(|(id, _)| id).collect::<Vec<_>>()
    };
    ec2.wait(9);
    assert_eq!(recommended().await, expected[..2]);
    ec2.wait(5);
    assert_eq!(recommended().await, expected);
}

#[tokio::test]
async fn terminated_instance_loses_its_tags_but_keeps_its_id() {
    let ec2 = TestEc2::new();
    let tag = [
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "scaling:stack"),
        ("TagSpecification.1.Tag.1.Value", "dev"),
    ];
    let by_tag = [
        ("Filter.1.Name", "tag:scaling:stack"),
        ("Filter.1.Value.1", "dev"),
    ];
    let id = ec2.launch("1", &tag).await.ids().remove(0);
    ec2.call("TerminateInstances", &[("InstanceId.1", &id)])
        .await;
    ec2.wait(20 + 599);
    assert_eq!(
        ec2.call("DescribeInstances", &by_tag).await.ids(),
        [id.as_str()]
    );
    ec2.wait(1);
    assert!(
        ec2.call("DescribeInstances", &by_tag)
            .await
            .ids()
            .is_empty()
    );
    assert!(ec2.call("DescribeTags", &[]).await.texts("key").is_empty());
    let by_id = describe(&ec2, &id).await;
    assert_eq!(by_id.text("name"), "terminated");
    assert!(!by_id.body.contains("tagSet"), "{}", by_id.body);
    let ledger = ec2.control("ledger").await;
    assert_eq!(
        ledger["instances"][0]["tags"],
        json!({"scaling:stack": "dev"})
    );
}

#[tokio::test]
async fn tags_vanish_at_once_if_set_so() {
    let ec2 = TestEc2::new();
    ec2.send_control("PATCH", "settings", &json!({"terminated_tagged_ms": 0}))
        .await;
    let tag = [
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
    ];
    let id = ec2.launch("1", &tag).await.ids().remove(0);
    ec2.call("TerminateInstances", &[("InstanceId.1", &id)])
        .await;
    ec2.wait(19);
    assert_eq!(describe(&ec2, &id).await.text("key"), "Name");
    ec2.wait(1);
    assert_eq!(describe(&ec2, &id).await.text("key"), "");
}
