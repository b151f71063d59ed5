//! What is sent to SNS, with the real AWS SDK.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeMap;

use axum::extract::Form;
use axum::http::StatusCode;
use axum::{Router, routing::post};
use local_stack::ministack::sdk_config;
use shared::alerts::{Alerts, Problem};
use sns_adapter::SnsAlerts;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:scaling-alerts";

/// An SNS that answers every request with this status, and the requests that it gets.
async fn sns(status: StatusCode) -> (SnsAlerts, mpsc::UnboundedReceiver<BTreeMap<String, String>>) {
    let (sent, received) = mpsc::unbounded_channel();
    let publish = move |Form(form): Form<BTreeMap<String, String>>| async move {
        sent.send(form).unwrap();
        let body = "<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult>\
                    </PublishResponse>";
        (status, body)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(publish));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client = aws_sdk_sns::Client::new(&sdk_config(&endpoint));
    (
        SnsAlerts::new(client, TOPIC.to_owned(), "prod".to_owned()),
        received,
    )
}

fn problems(count: usize) -> Vec<Problem> {
    let problem = |n| Problem {
        kind: format!("kind {n}"),
        text: format!("problem {n}"),
    };
    (0..count).map(problem).collect()
}

#[tokio::test]
async fn problems_of_a_pass_are_sent_as_one_message() {
    let (alerts, mut received) = sns(StatusCode::OK).await;
    alerts.send(&"us-east-1".into(), &problems(2)).await;
    let message = received.recv().await.unwrap();
    assert_eq!(message["Action"], "Publish");
    assert_eq!(message["TopicArn"], TOPIC);
    assert_eq!(message["Subject"], "Scaling prod us-east-1");
    assert_eq!(message["Message"], "problem 0\nproblem 1");
    assert!(received.try_recv().is_err());
}

#[tokio::test]
async fn message_with_too_many_problems_is_cut_and_refers_to_the_log() {
    let (alerts, mut received) = sns(StatusCode::OK).await;
    alerts.send(&"us-east-1".into(), &problems(1000)).await;
    let message = received.recv().await.unwrap().remove("Message").unwrap();
    assert_eq!(message.lines().count(), 51);
    assert!(message.ends_with("… and 950 more, in the log"));
}

#[tokio::test]
async fn topic_that_rejects_a_message_does_not_fail_the_pass() {
    let (alerts, mut received) = sns(StatusCode::FORBIDDEN).await;
    alerts.send(&"us-east-1".into(), &problems(1)).await;
    assert!(received.recv().await.is_some());
}
