//! The emulator over HTTP, on the system clock, with a receiver of its events.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use ec2_emulator::delivery::EventSender;
use ec2_emulator::settings::Settings;
use ec2_emulator::world::DEFAULT_WORLD;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn interrupted_instance_posts_all_its_events() {
    let (events_in, mut events_out) = mpsc::unbounded_channel();
    let receive = post(async move |Json(event): Json<Value>| {
        events_in.send(event).unwrap();
        StatusCode::NO_CONTENT
    });
    let events_url = serve(Router::new().route("/", receive)).await;

    let settings = Settings {
        pending_ms: 20,
        shutting_down_ms: 20,
        ..Settings::default()
    };
    let emulator = ec2_emulator::start(DEFAULT_WORLD.parse().unwrap(), settings);
    let sender = EventSender::new(emulator.clone(), events_url).unwrap();
    tokio::spawn(sender.run());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(ec2_emulator::serve(listener, emulator, None));

    let http = reqwest::Client::new();
    let interrupt = json!({"effect": {"interrupt": {"after_ms": 20, "warning_ms": 20}}});
    let faults = json!({"instances": [interrupt]});
    let put = http.put(format!("{url}/_emulator/faults")).json(&faults);
    assert!(put.send().await.unwrap().status().is_success());
    let launch = http
        .post(&url)
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKID/20261121/us-east-1/ec2/aws4_request",
        )
        .form(&[
            ("Action", "RunInstances"),
            ("ImageId", "ami-01000000000000001"),
            ("InstanceType", "g4dn.xlarge"),
            ("SubnetId", "subnet-01a0000000000000a"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
        ]);
    assert!(launch.send().await.unwrap().status().is_success());

    let mut details = Vec::new();
    for _ in 0..5 {
        let mut detail = events_out.recv().await.unwrap()["detail"].take();
        detail.as_object_mut().unwrap().remove("instance-id");
        details.push(detail);
    }
    // Sorted, because events arrive in any order: each is posted on its own.
    details.sort_by_key(Value::to_string);
    assert_eq!(
        details,
        [
            json!({"instance-action": "terminate"}),
            json!({"state": "pending"}),
            json!({"state": "running"}),
            json!({"state": "shutting-down"}),
            json!({"state": "terminated"}),
        ]
    );
}
