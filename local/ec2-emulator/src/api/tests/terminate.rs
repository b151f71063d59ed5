//! `TerminateInstances`, and instances that shut themselves down.

use crate::testing::{START, TestEc2};
use serde_json::json;

#[tokio::test]
async fn terminated_instance_loses_its_addresses_after_delay() {
    let ec2 = TestEc2::new();
    let id = ec2.launch("1", &[]).await.ids().remove(0);
    ec2.wait(60);
    let reply = ec2
        .call("TerminateInstances", &[("InstanceId.1", &id)])
        .await;
    assert_eq!(reply.texts("name"), ["shutting-down", "running"]);
    assert_eq!(reply.texts("code"), ["32", "16"]);

    ec2.wait(19);
    let ending = ec2.call("DescribeInstances", &[]).await;
    assert_eq!(ending.text("name"), "shutting-down");
    assert!(!ending.text("ipAddress").is_empty());
    assert_eq!(
        ending.text("reason"),
        "User initiated (2026-11-21 18:01:00 GMT)"
    );

    ec2.wait(1);
    let ended = ec2.call("DescribeInstances", &[]).await;
    assert_eq!(ended.text("name"), "terminated");
    assert_eq!(
        ended.texts("ipAddress").len() + ended.texts("subnetId").len(),
        0
    );
    assert!(
        ended
            .body
            .contains("<code>Client.UserInitiatedShutdown</code>")
    );
}

#[tokio::test]
async fn terminated_instance_is_listed_for_an_hour_and_then_unknown() {
    let ec2 = TestEc2::new();
    let id = ec2.launch("1", &[]).await.ids().remove(0);
    ec2.call("TerminateInstances", &[("InstanceId.1", &id)])
        .await;
    ec2.wait(20 + 3599);
    assert_eq!(
        ec2.call("DescribeInstances", &[]).await.ids(),
        [id.as_str()]
    );
    ec2.wait(1);
    assert!(ec2.call("DescribeInstances", &[]).await.ids().is_empty());
    let by_id = ec2
        .call("DescribeInstances", &[("InstanceId.1", &id)])
        .await;
    assert_eq!(by_id.error().0, "InvalidInstanceID.NotFound");
    let again = ec2
        .call("TerminateInstances", &[("InstanceId.1", &id)])
        .await;
    assert_eq!(again.error().0, "InvalidInstanceID.NotFound");

    let ledger = ec2.control("ledger").await;
    let states = ledger["instances"][0]["transitions"].clone();
    assert_eq!(
        states,
        json!([
            {"state": "pending", "at_ms": START.0},
            {"state": "shutting-down", "at_ms": START.0},
            {"state": "terminated", "at_ms": START.0 + 20_000},
        ]),
        "the ledger still knows it"
    );
}

#[tokio::test]
async fn unknown_id_fails_whole_termination_and_every_unknown_id_is_named() {
    let ec2 = TestEc2::new();
    let id = ec2.launch("1", &[]).await.ids().remove(0);
    let reply = ec2
        .call(
            "TerminateInstances",
            &[
                ("InstanceId.1", &id),
                ("InstanceId.2", "i-00000000000000001"),
                ("InstanceId.3", "i-00000000000000002"),
            ],
        )
        .await;
    assert_eq!(
        reply.error(),
        (
            "InvalidInstanceID.NotFound",
            "The instance IDs 'i-00000000000000001, i-00000000000000002' do not exist"
        )
    );
    let malformed = ec2
        .call(
            "TerminateInstances",
            &[("InstanceId.1", &id), ("InstanceId.2", "x")],
        )
        .await;
    assert_eq!(malformed.error().0, "InvalidInstanceID.Malformed");
    assert_eq!(
        ec2.call("DescribeInstances", &[]).await.text("name"),
        "pending"
    );
}

#[tokio::test]
async fn second_termination_changes_nothing() {
    let ec2 = TestEc2::new();
    let id = ec2.launch("1", &[]).await.ids().remove(0);
    let params = [("InstanceId.1", id.as_str())];
    ec2.call("TerminateInstances", &params).await;
    ec2.wait(10);
    let again = ec2.call("TerminateInstances", &params).await;
    assert_eq!(again.texts("name"), ["shutting-down", "shutting-down"]);
    ec2.wait(10);
    let late = ec2.call("TerminateInstances", &params).await;
    assert_eq!(
        late.texts("name"),
        ["terminated", "terminated"],
        "the second request does not restart the delay"
    );
}

#[tokio::test]
async fn termination_dry_run_terminates_nothing() {
    let ec2 = TestEc2::new();
    let id = ec2.launch("1", &[]).await.ids().remove(0);
    let reply = ec2
        .call(
            "TerminateInstances",
            &[("InstanceId.1", &id), ("DryRun", "true")],
        )
        .await;
    assert_eq!(reply.error().0, "DryRunOperation");
    assert_eq!(
        ec2.call("DescribeInstances", &[]).await.text("name"),
        "pending"
    );
}

#[tokio::test]
async fn shutdown_by_instance_ends_as_its_launch_requested() {
    let ec2 = TestEc2::new();
    let stops = ec2.launch("1", &[]).await.ids().remove(0);
    let terminates = ec2
        .launch("1", &[("InstanceInitiatedShutdownBehavior", "terminate")])
        .await
        .ids()
        .remove(0);
    ec2.wait(10);
    ec2.emulator.with(|state, now| {
        state.world.shut_down_by_instance("us-east-1", &stops, now);
        state
            .world
            .shut_down_by_instance("us-east-1", &terminates, now);
    });
    let names = || async {
        let reply = ec2.call("DescribeInstances", &[]).await;
        reply
            .texts("name")
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["stopping", "shutting-down"]);
    ec2.wait(20);
    assert_eq!(names().await, ["stopped", "terminated"]);
    let reply = ec2
        .call("DescribeInstances", &[("InstanceId.1", &terminates)])
        .await;
    assert!(
        reply
            .body
            .contains("<code>Client.InstanceInitiatedShutdown</code>")
    );

    let reply = ec2
        .call("TerminateInstances", &[("InstanceId.1", &stops)])
        .await;
    assert_eq!(
        reply.texts("name"),
        ["shutting-down", "stopped"],
        "a stopped instance can be terminated"
    );
}
