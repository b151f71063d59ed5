//! The content of events, and the order of their deliveries.

use serde_json::{Value, json};

use crate::testing::{START, TestEc2};

const STATE_CHANGE: &str = "EC2 Instance State-change Notification";

async fn events(ec2: &TestEc2) -> Vec<Value> {
    let ledger = ec2.control("ledger").await;
    ledger["events"].as_array().unwrap().clone()
}

/// Takes the batches that are due now, and returns the states in each one's events.
fn due(ec2: &TestEc2) -> Vec<Vec<&'static str>> {
    let batches = ec2.emulator.with(|state, now| state.events.take_due(now));
    let states = |batch: Vec<super::PendingEvent>| {
        batch
            .into_iter()
            .map(|it| it.event.detail.state.unwrap_or("-"))
            .collect()
    };
    batches.into_iter().map(states).collect()
}

fn ec2_with_receiver() -> TestEc2 {
    let ec2 = TestEc2::new();
    ec2.emulator.with(|state, _| state.events.enable_delivery());
    ec2
}

#[tokio::test]
async fn state_change_is_event_in_eventbridge_format() {
    let ec2 = TestEc2::new();
    let id = ec2.launch("1", &[]).await.ids().remove(0);
    ec2.wait(15);
    ec2.call("TerminateInstances", &[("InstanceId.1", &id)])
        .await;
    ec2.wait(20);
    let events = events(&ec2).await;
    let states: Vec<_> = events
        .iter()
        .map(|it| &it["event"]["detail"]["state"])
        .collect();
    assert_eq!(
        states,
        ["pending", "running", "shutting-down", "terminated"]
    );
    let running = &events[1];
    assert_eq!(running["seq"], 2);
    assert_eq!(running["at_ms"], START.0 + 10_000);
    assert_eq!(
        running["event"],
        json!({
            "version": "0",
            "id": running["event"]["id"],
            "detail-type": STATE_CHANGE,
            "source": "aws.ec2",
            "account": "000000000000",
            "time": "2026-11-21T18:00:10Z",
            "region": "us-east-1",
            "resources": [format!("arn:aws:ec2:us-east-1:000000000000:instance/{id}")],
            "detail": {"instance-id": id, "state": "running"},
        })
    );
    assert_eq!(running["deliveries"], json!([]), "there is no receiver");
}

#[tokio::test]
async fn warning_and_recommendation_are_events() {
    let ec2 = TestEc2::new();
    let id = ec2.launch("1", &[]).await.ids().remove(0);
    ec2.wait(10);
    let on = json!({"instance_id": id});
    let faults = json!([
        {"on": on, "effect": {"rebalance": {}}},
        {"on": on, "effect": {"interrupt": {"after_ms": 1000, "warning_ms": 3000}}},
        {"on": on, "effect": {"agent_dies": {}}},
    ]);
    ec2.faults(&json!({"instances": faults})).await;
    ec2.wait(60);
    let events = events(&ec2).await;
    let detail_types: Vec<_> = events
        .iter()
        .map(|it| &it["event"]["detail-type"])
        .collect();
    let rebalance = "EC2 Instance Rebalance Recommendation";
    let warning = "EC2 Spot Instance Interruption Warning";
    assert_eq!(
        detail_types,
        [
            STATE_CHANGE,
            STATE_CHANGE,
            rebalance,
            warning,
            STATE_CHANGE,
            STATE_CHANGE
        ]
    );
    assert_eq!(events[2]["event"]["detail"], json!({"instance-id": id}));
    assert_eq!(
        events[3]["event"]["detail"],
        json!({"instance-id": id, "instance-action": "terminate"})
    );
    assert_eq!(
        events[3]["event"]["resources"],
        json!([format!("arn:aws:ec2:us-east-1a:instance/{id}")])
    );
}

#[tokio::test]
async fn events_with_faults_are_dropped_and_duplicated() {
    let ec2 = ec2_with_receiver();
    let faults = json!([
        {"on": {"state": "pending"}, "effect": "drop", "times": 1},
        {"on": {"state": "running"}, "effect": {"duplicate": 2}},
    ]);
    ec2.faults(&json!({"events": faults})).await;
    ec2.launch("2", &[]).await;
    assert_eq!(due(&ec2), [["pending"]]);
    ec2.wait(10);
    assert_eq!(due(&ec2), [["running"]; 6]);
    let events = events(&ec2).await;
    assert_eq!(events[0]["faults"], json!(["drop"]));
    assert_eq!(events[0]["deliveries"], json!([]));
    assert_eq!(events[1]["faults"], json!([]));
    let waiting = json!({"due_ms": START.0 + 10_000, "outcome": "waiting", "attempts": 0,
                         "at_ms": null, "answer": null});
    assert_eq!(events[2]["deliveries"], json!([waiting, waiting, waiting]));
}

#[tokio::test]
async fn delayed_event_is_delivered_after_later_ones() {
    let ec2 = ec2_with_receiver();
    let late = json!({"on": {"detail_type": STATE_CHANGE, "state": "pending"},
                      "effect": {"delay_ms": 15_000}});
    ec2.faults(&json!({"events": [late]})).await;
    ec2.launch("1", &[]).await;
    ec2.wait(10);
    assert_eq!(due(&ec2), [["running"]]);
    ec2.wait(5);
    assert_eq!(due(&ec2), [["pending"]]);
}

#[tokio::test]
async fn events_are_reordered_at_count_or_after_time_limit() {
    let ec2 = ec2_with_receiver();
    let reorder = json!({"effect": {"reorder": {"count": 2, "within_ms": 30_000}}});
    ec2.faults(&json!({"events": [reorder]})).await;
    let id = ec2.launch("1", &[]).await.ids().remove(0);
    assert!(due(&ec2).is_empty());
    ec2.wait(10);
    assert_eq!(due(&ec2), [["running", "pending"]]);
    ec2.call("TerminateInstances", &[("InstanceId.1", &id)])
        .await;
    ec2.faults(&json!({})).await;
    ec2.wait(20);
    assert_eq!(due(&ec2), [["terminated"]]);
    ec2.wait(10);
    assert_eq!(due(&ec2), [["shutting-down"]]);
}
