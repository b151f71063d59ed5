//! Valid answers of replicas.

use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr};

use flate2::Compression;
use flate2::write::GzEncoder;
use scaling_tests::replica_server::{Behavior, ReplicaServer};
use shared::model::ReplicaAnswer;
use shared::replicas::ReplicaStatusApi as _;
use shared::settings::StatusApi;

use crate::{api, ask, poll, poller};

const HEALTHY: ReplicaAnswer = ReplicaAnswer::Healthy { capacity: 3 };

#[tokio::test]
async fn healthy_replica_reports_its_capacity() {
    assert_eq!(poll(Behavior::healthy(3)).await, HEALTHY);
    let used_up = ReplicaAnswer::Healthy { capacity: 0 };
    assert_eq!(poll(Behavior::healthy(0)).await, used_up);
}

#[tokio::test]
async fn terminated_replica_is_reported() {
    let body = r#"{"capacity": 3, "termination": true}"#;
    assert_eq!(
        poll(Behavior::with_body(body)).await,
        ReplicaAnswer::Terminated
    );
}

#[tokio::test]
async fn other_fields_are_ignored() {
    let body = r#"{"name": [{}], "termination": false, "capacity": 3, "Capacity": "x"}"#;
    assert_eq!(poll(Behavior::with_body(body)).await, HEALTHY);
}

#[tokio::test]
async fn any_2xx_status_and_any_framing_are_accepted() {
    let body = r#"{"termination": false, "capacity": 3}"#;
    let created = Behavior::Answers(201, body.to_owned());
    assert_eq!(poll(created).await, HEALTHY);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    assert_eq!(poll(Behavior::Sends(chunked.into())).await, HEALTHY);
    let until_closed = format!("HTTP/1.0 200 OK\r\n\r\n{body}");
    assert_eq!(poll(Behavior::Sends(until_closed.into())).await, HEALTHY);
}

#[tokio::test]
async fn path_and_keys_come_from_the_settings() {
    let body = r#"{"state": {}, "free": 3, "gone for good": false, "capacity": 9}"#;
    let server = ReplicaServer::one(Behavior::with_body(body)).await;
    let api = StatusApi {
        path: "/v1/status?for=scaling&a=%20".to_owned(),
        capacity_key: "free".to_owned(),
        termination_key: "gone for good".to_owned(),
        ..api(server.port)
    };
    assert_eq!(ask(&api).await, HEALTHY);
    let request = "GET /v1/status?for=scaling&a=%20 HTTP/1.1";
    assert_eq!(server.requests(), [request]);
}

#[tokio::test]
async fn default_path_is_the_root() {
    let server = ReplicaServer::one(Behavior::healthy(3)).await;
    assert_eq!(ask(&api(server.port)).await, HEALTHY);
    assert_eq!(server.requests(), ["GET / HTTP/1.1"]);
}

#[tokio::test]
async fn ipv6_replica_is_polled() {
    let server = ReplicaServer::listen("[::1]:0", None, |_| Behavior::healthy(3)).await;
    let answer = poller()
        .ask(&api(server.port), IpAddr::V6(Ipv6Addr::LOCALHOST))
        .await;
    assert_eq!(answer, HEALTHY);
}

/// An answer with a body in a content coding, as servers and caches send that compress whatever was
/// requested.
pub(crate) fn in_coding(coding: &str, body: &[u8]) -> Behavior {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {length}\r\n\r\n"
    );
    Behavior::Sends([head.as_bytes(), body].concat())
}

pub(crate) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}

#[tokio::test]
async fn answer_that_is_compressed_unasked_is_decoded() {
    let body = br#"{"termination": false, "capacity": 3}"#;
    assert_eq!(poll(in_coding("gzip", &gzip(body))).await, HEALTHY);
    assert_eq!(poll(in_coding("identity", body)).await, HEALTHY);
}
