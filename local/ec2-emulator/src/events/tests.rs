//! What EC2 tells, and in which order it is delivered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::delivery::Postman;
use crate::testing::{START, TestEc2};

const STATE_CHANGE: &str = "EC2 Instance State-change Notification";

async fn events(ec2: &TestEc2) -> Vec<Value> {
    let ledger = ec2.control("ledger").await;
    ledger["events"].as_array().unwrap().clone()
}

/// What is due now: the states that each batch tells of.
fn due(ec2: &TestEc2) -> Vec<Vec<&'static str>> {
    let batches = ec2.emulator.with(|inner, now| inner.events.take_due(now));
    let states = |batch: Vec<super::Parcel>| {
        batch
            .into_iter()
            .map(|it| it.event.detail.state.unwrap_or("-"))
            .collect()
    };
    batches.into_iter().map(states).collect()
}

fn listening() -> TestEc2 {
    let ec2 = TestEc2::new();
    ec2.emulator.with(|inner, _| inner.events.listen());
    ec2
}

#[tokio::test]
async fn every_change_of_state_is_an_event_of_eventbridges_shape() {
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
    assert_eq!(running["deliveries"], json!([]), "nobody listens");
}

#[tokio::test]
async fn warnings_and_recommendations_are_events_too() {
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
    let told: Vec<_> = events
        .iter()
        .map(|it| &it["event"]["detail-type"])
        .collect();
    let rebalance = "EC2 Instance Rebalance Recommendation";
    let warning = "EC2 Spot Instance Interruption Warning";
    assert_eq!(
        told,
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
async fn events_are_dropped_and_repeated_on_demand() {
    let ec2 = listening();
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
async fn a_late_event_is_overtaken_by_others() {
    let ec2 = listening();
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
async fn events_are_reordered_when_there_are_enough_or_time_is_up() {
    let ec2 = listening();
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

/// Serves a receiver that answers with what `answer` makes of the number of the request, and
/// tells of the events that it got.
async fn receiver(
    answer: impl Fn(usize) -> (StatusCode, &'static str) + Clone + Send + Sync + 'static,
) -> (String, mpsc::UnboundedReceiver<Value>) {
    let (got, events) = mpsc::unbounded_channel();
    let requests = Arc::new(AtomicUsize::new(0));
    let receive = post(async move |Json(event): Json<Value>| {
        got.send(event).unwrap();
        answer(requests.fetch_add(1, Ordering::SeqCst))
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/events", listener.local_addr().unwrap());
    let router = Router::new().route("/events", receive);
    tokio::spawn(async { axum::serve(listener, router).await });
    (url, events)
}

/// The first delivery of an event, once `outcome` is its.
async fn delivered(ec2: &TestEc2, event: usize, outcome: &str) -> Value {
    loop {
        let found = events(ec2).await[event]["deliveries"][0].clone();
        if found["outcome"] == outcome {
            return found;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_event_is_posted_again_until_it_is_taken() {
    let (url, mut got) = receiver(|request| match request {
        0 => (StatusCode::INTERNAL_SERVER_ERROR, "not now"),
        1 => (StatusCode::OK, r#"{"invoked": ["f"]}"#),
        _ => (StatusCode::NO_CONTENT, ""),
    })
    .await;
    let ec2 = TestEc2::new();
    tokio::spawn(Postman::new(ec2.emulator.clone(), url).unwrap().run());
    ec2.launch("1", &[]).await;
    let first = got.recv().await.unwrap();
    assert_eq!(first["detail"]["state"], "pending");
    assert_eq!(got.recv().await.unwrap(), first);
    let delivery = delivered(&ec2, 0, "delivered").await;
    assert_eq!(delivery["attempts"], 2);
    assert_eq!(delivery["answer"], json!({"invoked": ["f"]}));

    ec2.wait(10);
    ec2.call("DescribeInstances", &[]).await;
    assert_eq!(got.recv().await.unwrap()["detail"]["state"], "running");
    assert_eq!(delivered(&ec2, 1, "unwanted").await["attempts"], 1);
}

#[tokio::test]
async fn an_event_that_nobody_takes_is_given_up() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let ec2 = TestEc2::new();
    tokio::spawn(Postman::new(ec2.emulator.clone(), url).unwrap().run());
    ec2.launch("1", &[]).await;
    let delivery = delivered(&ec2, 0, "failed").await;
    assert_eq!(delivery["attempts"], 5);
    assert!(delivery["answer"].is_string(), "{delivery}");
}
