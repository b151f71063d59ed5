//! Replicas that keep the poller waiting, redirect it, or send too much or too little.

use std::time::Instant;

use scaling_tests::replica_server::{Behavior, ReplicaServer};
use shared::model::ReplicaAnswer;

use crate::{ENOUGH, api, ask, unknown_reason, unknown_reason_in_time};

const NO_ANSWER: &str = "no answer within 0.5 s";

#[tokio::test]
async fn hanging_replica_is_unknown_after_the_limit() {
    assert_eq!(unknown_reason_in_time(Behavior::Hangs).await, NO_ANSWER);
}

#[tokio::test]
async fn trickling_replica_is_unknown_after_the_limit() {
    assert_eq!(unknown_reason_in_time(Behavior::Trickles).await, NO_ANSWER);
    assert_eq!(
        unknown_reason_in_time(Behavior::TricklesHead).await,
        NO_ANSWER
    );
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let target = ReplicaServer::one(Behavior::healthy(3)).await;
    for status in [301, 302, 303, 307, 308] {
        let to = format!("http://127.0.0.1:{}/", target.port);
        let redirect =
            format!("HTTP/1.1 {status} Elsewhere\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
        let why = unknown_reason(Behavior::Sends(redirect.into())).await;
        assert_eq!(why, format!("it answered with status {status}"));
    }
    assert!(target.requests().is_empty(), "{:?}", target.requests());
}

#[tokio::test]
async fn error_status_is_rejected_with_any_body() {
    for status in [400, 401, 404, 418, 429, 500, 503] {
        let body = r#"{"termination": true, "capacity": 3}"#;
        let why = unknown_reason(Behavior::Answers(status, body.to_owned())).await;
        assert_eq!(why, format!("it answered with status {status}"));
    }
}

#[tokio::test]
async fn large_body_is_not_read() {
    const FLOOD: u64 = 10_000_000;
    let server = ReplicaServer::one(Behavior::Floods(FLOOD)).await;
    let answer = ask(&api(server.port)).await;
    let why = "the answer is larger than 65536 bytes".to_owned();
    assert_eq!(answer, ReplicaAnswer::Unknown { why });
    // What the kernel buffers between the two counts as sent.
    let sent = server.sent();
    assert!(sent < FLOOD / 2, "{sent} bytes were sent");
}

#[tokio::test]
async fn truncated_answer_is_rejected() {
    let whole =
        "HTTP/1.1 200 OK\r\ncontent-length: 37\r\n\r\n{\"termination\": false, \"capacity\": 3}";
    for end in [0, 5, 20, 41, 60, whole.len() - 1] {
        let why = unknown_reason(Behavior::Sends(whole[..end].into())).await;
        assert!(why.contains("broke off"), "{end}: {why}");
    }
    let why = unknown_reason(Behavior::Closes).await;
    assert!(why.contains("broke off"), "{why}");
}

#[tokio::test]
async fn closed_port_is_unknown_at_once() {
    let server = ReplicaServer::one(Behavior::Closes).await;
    let api = api(server.port);
    drop(server);
    let started = Instant::now();
    let refused = scaling_tests::wait::eventually(
        "a closed port",
        ENOUGH / 2,
        async || ask(&api).await,
        |answer| {
            matches!(answer, ReplicaAnswer::Unknown { why } if why.contains("cannot be connected"))
        },
    )
    .await;
    assert!(started.elapsed() < ENOUGH, "{refused:?}");
}

#[tokio::test]
async fn answer_that_is_not_http_is_rejected() {
    for bytes in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"\x16\x03\x01\x00\x05hello",
        b"{\"termination\": true, \"capacity\": 0}",
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        b"\0\0\0\0",
    ] {
        let why = unknown_reason(Behavior::Sends(bytes.to_vec())).await;
        assert!(why.contains("not HTTP"), "{bytes:?}: {why}");
    }
}
