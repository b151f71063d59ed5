//! Deliveries over HTTP to a receiver.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::EventSender;
use crate::testing::TestEc2;

async fn events(ec2: &TestEc2) -> Vec<Value> {
    let ledger = ec2.control("ledger").await;
    ledger["events"].as_array().unwrap().clone()
}

/// Starts a receiver that responds with `answer` of the request's number, which starts at 0. Returns
/// its URL and the events that it receives.
async fn receiver(
    answer: impl Fn(usize) -> (StatusCode, &'static str) + Clone + Send + Sync + 'static,
) -> (String, mpsc::UnboundedReceiver<Value>) {
    let (sender, events) = mpsc::unbounded_channel();
    let requests = Arc::new(AtomicUsize::new(0));
    let receive = post(async move |Json(event): Json<Value>| {
        sender.send(event).unwrap();
        answer(requests.fetch_add(1, Ordering::SeqCst))
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/events", listener.local_addr().unwrap());
    let router = Router::new().route("/events", receive);
    tokio::spawn(async { axum::serve(listener, router).await });
    (url, events)
}

/// Waits until the first delivery of an event has this outcome, and returns it.
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
async fn failed_delivery_is_retried_until_accepted() {
    let (url, mut received) = receiver(|request| match request {
        0 => (StatusCode::INTERNAL_SERVER_ERROR, "not now"),
        1 => (StatusCode::OK, r#"{"invoked": ["f"]}"#),
        _ => (StatusCode::NO_CONTENT, ""),
    })
    .await;
    let ec2 = TestEc2::new();
    tokio::spawn(EventSender::new(ec2.emulator.clone(), url).unwrap().run());
    ec2.launch("1", &[]).await;
    let first = received.recv().await.unwrap();
    assert_eq!(first["detail"]["state"], "pending");
    assert_eq!(received.recv().await.unwrap(), first);
    let delivery = delivered(&ec2, 0, "delivered").await;
    assert_eq!(delivery["attempts"], 2);
    assert_eq!(delivery["answer"], json!({"invoked": ["f"]}));

    ec2.wait(10);
    ec2.call("DescribeInstances", &[]).await;
    assert_eq!(received.recv().await.unwrap()["detail"]["state"], "running");
    assert_eq!(delivered(&ec2, 1, "unwanted").await["attempts"], 1);
}

#[tokio::test]
async fn delivery_without_receiver_fails_after_last_attempt() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let ec2 = TestEc2::new();
    tokio::spawn(EventSender::new(ec2.emulator.clone(), url).unwrap().run());
    ec2.launch("1", &[]).await;
    let delivery = delivered(&ec2, 0, "failed").await;
    assert_eq!(delivery["attempts"], 5);
    assert!(delivery["answer"].is_string(), "{delivery}");
}
