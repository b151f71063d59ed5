//! Faults of instances.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::testing::{START, TestEc2};

async fn instances(ec2: &TestEc2) -> Vec<Value> {
    let ledger = ec2.control("ledger").await;
    ledger["instances"].as_array().unwrap().clone()
}

/// The states of an instance, each with the second at which it began.
fn states(instance: &Value) -> Vec<(String, i64)> {
    let transitions = instance["transitions"].as_array().unwrap();
    let state = |it: &Value| {
        let since = (it["at_ms"].as_i64().unwrap() - START.0) / 1000;
        (it["state"].as_str().unwrap().to_owned(), since)
    };
    transitions.iter().map(state).collect()
}

#[tokio::test]
async fn interruption_warns_and_terminates_two_minutes_later() {
    let ec2 = TestEc2::new();
    let id = ec2.launch("1", &[]).await.ids().remove(0);
    ec2.wait(30);
    let interrupt = json!({"on": {"instance_id": id}, "effect": {"interrupt": {}}});
    let left = ec2.faults(&json!({"instances": [interrupt]})).await;
    assert_eq!(left["instances"], json!([]), "the fault has applied");
    ec2.wait(119);
    let instance = &instances(&ec2).await[0];
    assert_eq!(instance["state"], "running");
    let warned_at = START.0 + 30_000;
    assert_eq!(
        instance["interruption"],
        json!({"warned_at_ms": warned_at, "due_at_ms": warned_at + 120_000, "action": "terminate"})
    );
    ec2.wait(100);
    let instance = &instances(&ec2).await[0];
    assert_eq!(
        states(instance),
        [
            ("pending".to_owned(), 0),
            ("running".to_owned(), 10),
            ("shutting-down".to_owned(), 150),
            ("terminated".to_owned(), 170)
        ]
    );
    assert_eq!(instance["ended_by"], "spot");
    let listed = ec2.call("DescribeInstances", &[]).await;
    assert!(listed.body.contains(
        "<stateReason><code>Server.SpotInstanceTermination</code><message>\
         Server.SpotInstanceTermination: Spot instance termination</message>"
    ));
}

#[tokio::test]
async fn interruption_stops_instance_even_if_faults_are_cleared_after_warning() {
    let ec2 = TestEc2::new();
    let effect = json!({"interrupt": {"after_ms": 1000, "warning_ms": 5000, "action": "stop"}});
    ec2.faults(&json!({"instances": [{"effect": effect, "times": 1}]}))
        .await;
    ec2.launch("1", &[]).await;
    ec2.wait(12);
    ec2.faults(&json!({})).await;
    ec2.wait(60);
    let states: Vec<_> = states(&instances(&ec2).await[0]);
    assert_eq!(
        states[2..],
        [("stopping".to_owned(), 16), ("stopped".to_owned(), 36)]
    );
}

#[tokio::test]
async fn unnamed_faults_apply_to_next_instances_when_they_run() {
    let ec2 = TestEc2::new();
    let faults = json!([
        {"effect": "no_boot", "times": 1},
        {"on": {"region": "us-east-1"}, "effect": {"agent_dies": {"after_ms": 5000}}, "times": 2},
        {"on": {"region": "eu-west-1"}, "effect": {"rebalance": {"after_ms": 0}}},
    ]);
    ec2.faults(&json!({"instances": faults})).await;
    ec2.launch("3", &[]).await;
    ec2.wait(10);
    let runs_at = START.0 + 10_000;
    let no_boot = json!({"effect": "no_boot", "at_ms": runs_at});
    let dies = json!({"effect": {"agent_dies": {"after_ms": 5000}}, "at_ms": runs_at + 5000});
    let applied: Vec<_> = instances(&ec2)
        .await
        .iter()
        .map(|it| it["faults"].clone())
        .collect();
    assert_eq!(applied, [json!([no_boot, dies]), json!([dies]), json!([])]);
    let left = ec2.control("faults").await["instances"].clone();
    assert_eq!(left, json!([faults[2]]));
}

#[tokio::test]
async fn scheduled_fault_is_discarded_when_faults_are_cleared() {
    let ec2 = TestEc2::new();
    let later = json!({"effect": {"interrupt": {"after_ms": 5000, "warning_ms": 0}}});
    ec2.faults(&json!({"instances": [later]})).await;
    ec2.launch("1", &[]).await;
    ec2.wait(12);
    ec2.faults(&json!({})).await;
    ec2.wait(60);
    let instance = &instances(&ec2).await[0];
    assert_eq!(instance["state"], "running");
    assert_eq!(instance["faults"], json!([]));
}

#[tokio::test]
async fn fault_naming_missing_or_too_old_instance_is_rejected() {
    let ec2 = TestEc2::new();
    let id = ec2.launch("1", &[]).await.ids().remove(0);
    ec2.wait(10);
    for (id, effect, reason) in [
        (id.as_str(), json!("no_boot"), "is running"),
        (
            "i-00000099",
            json!({"rebalance": {}}),
            "no instance i-00000099",
        ),
    ] {
        let fault = json!({"on": {"instance_id": id}, "effect": effect});
        let reply = ec2
            .send_control("PUT", "faults", &json!({"instances": [fault]}))
            .await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert!(reply.body.contains(reason), "{}", reply.body);
    }
    ec2.call("TerminateInstances", &[("InstanceId.1", &id)])
        .await;
    let fault = json!({"on": {"instance_id": id}, "effect": {"agent_dies": {}}});
    let reply = ec2
        .send_control("PUT", "faults", &json!({"instances": [fault]}))
        .await;
    assert!(reply.body.contains("is shutting-down"), "{}", reply.body);
}
