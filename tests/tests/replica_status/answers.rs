//! Replicas that answer as they should.

use std::net::{IpAddr, Ipv6Addr};

use scaling_tests::replica_server::{Manner, ReplicaServer};
use shared::model::ReplicaAnswer;
use shared::replicas::ReplicaStatusApi as _;
use shared::settings::StatusApi;

use crate::{api, ask, asked, poller};

const HEALTHY: ReplicaAnswer = ReplicaAnswer::Healthy { capacity: 3 };

#[tokio::test]
async fn a_healthy_replica_tells_its_capacity() {
    assert_eq!(asked(Manner::healthy(3)).await, HEALTHY);
    let used_up = ReplicaAnswer::Healthy { capacity: 0 };
    assert_eq!(asked(Manner::healthy(0)).await, used_up);
}

#[tokio::test]
async fn a_terminated_one_says_so() {
    let body = r#"{"capacity": 3, "termination": true}"#;
    assert_eq!(asked(Manner::says(body)).await, ReplicaAnswer::Terminated);
}

#[tokio::test]
async fn what_else_it_tells_is_passed_over() {
    let body = r#"{"name": [{}], "termination": false, "capacity": 3, "Capacity": "x"}"#;
    assert_eq!(asked(Manner::says(body)).await, HEALTHY);
}

#[tokio::test]
async fn any_success_and_any_framing_will_do() {
    let body = r#"{"termination": false, "capacity": 3}"#;
    let created = Manner::Answers(201, body.to_owned());
    assert_eq!(asked(created).await, HEALTHY);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    assert_eq!(asked(Manner::Sends(chunked.into())).await, HEALTHY);
    let until_closed = format!("HTTP/1.0 200 OK\r\n\r\n{body}");
    assert_eq!(asked(Manner::Sends(until_closed.into())).await, HEALTHY);
}

#[tokio::test]
async fn the_path_and_the_keys_are_the_settings() {
    let body = r#"{"state": {}, "free": 3, "gone for good": false, "capacity": 9}"#;
    let server = ReplicaServer::one(Manner::says(body)).await;
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
async fn the_default_path_is_the_root() {
    let server = ReplicaServer::one(Manner::healthy(3)).await;
    assert_eq!(ask(&api(server.port)).await, HEALTHY);
    assert_eq!(server.requests(), ["GET / HTTP/1.1"]);
}

#[tokio::test]
async fn an_ipv6_address_is_asked_too() {
    let server = ReplicaServer::listen("[::1]:0", None, |_| Manner::healthy(3)).await;
    let answer = poller()
        .ask(&api(server.port), IpAddr::V6(Ipv6Addr::LOCALHOST))
        .await;
    assert_eq!(answer, HEALTHY);
}
