//! Replicas that keep the poller waiting, send it elsewhere, or send it too much or too little.

use std::time::Instant;

use scaling_tests::replica_server::{Manner, ReplicaServer};
use shared::model::ReplicaAnswer;

use crate::{LIMIT, api, ask, unknown, unknown_in_time};

const NO_ANSWER: &str = "no answer within 500ms";

#[tokio::test]
async fn one_that_hangs_is_given_up_at_the_limit() {
    assert_eq!(unknown_in_time(Manner::Hangs).await, NO_ANSWER);
}

#[tokio::test]
async fn so_is_one_that_trickles() {
    assert_eq!(unknown_in_time(Manner::Trickles).await, NO_ANSWER);
    assert_eq!(unknown_in_time(Manner::TricklesItsHead).await, NO_ANSWER);
}

#[tokio::test]
async fn nobody_is_asked_that_a_replica_points_to() {
    let target = ReplicaServer::one(Manner::healthy(3)).await;
    for status in [301, 302, 303, 307, 308] {
        let to = format!("http://127.0.0.1:{}/", target.port);
        let redirect =
            format!("HTTP/1.1 {status} Elsewhere\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
        let why = unknown(Manner::Sends(redirect.into())).await;
        assert_eq!(why, format!("it answered with status {status}"));
    }
    assert!(target.requests().is_empty(), "{:?}", target.requests());
}

#[tokio::test]
async fn an_error_is_no_answer_whatever_is_in_it() {
    for status in [400, 401, 404, 418, 429, 500, 503] {
        let body = r#"{"termination": true, "capacity": 3}"#;
        let why = unknown(Manner::Answers(status, body.to_owned())).await;
        assert_eq!(why, format!("it answered with status {status}"));
    }
}

#[tokio::test]
async fn ten_megabytes_are_not_read() {
    const FLOOD: u64 = 10_000_000;
    let server = ReplicaServer::one(Manner::Floods(FLOOD)).await;
    let answer = ask(&api(server.port)).await;
    let why = "the answer is larger than 65536 bytes".to_owned();
    assert_eq!(answer, ReplicaAnswer::Unknown { why });
    // What the kernel holds between the two is sent, too.
    let sent = server.sent();
    assert!(sent < FLOOD / 2, "{sent} bytes were sent");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_none() {
    let whole =
        "HTTP/1.1 200 OK\r\ncontent-length: 37\r\n\r\n{\"termination\": false, \"capacity\": 3}";
    for end in [0, 5, 20, 41, 60, whole.len() - 1] {
        let why = unknown(Manner::Sends(whole[..end].into())).await;
        assert!(why.contains("broke off"), "{end}: {why}");
    }
    let why = unknown(Manner::Closes).await;
    assert!(why.contains("broke off"), "{why}");
}

#[tokio::test]
async fn where_nobody_listens_the_answer_comes_at_once() {
    let server = ReplicaServer::one(Manner::Closes).await;
    let api = api(server.port);
    drop(server);
    let started = Instant::now();
    let refused = scaling_tests::wait::eventually(
        "a closed port",
        10 * LIMIT,
        async || ask(&api).await,
        |answer| {
            matches!(answer, ReplicaAnswer::Unknown { why } if why.contains("cannot be connected"))
        },
    )
    .await;
    assert!(started.elapsed() < LIMIT, "{refused:?}");
}

#[tokio::test]
async fn what_is_not_http_is_no_answer() {
    for bytes in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"\x16\x03\x01\x00\x05hello",
        b"{\"termination\": true, \"capacity\": 0}",
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        b"\0\0\0\0",
    ] {
        let why = unknown(Manner::Sends(bytes.to_vec())).await;
        assert!(why.contains("not HTTP"), "{bytes:?}: {why}");
    }
}
