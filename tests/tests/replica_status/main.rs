//! The poller against real servers on loopback addresses: every way in which a replica can treat a
//! request for its status, and the poller's conclusion.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod bad_connections;
mod invalid_answers;
mod many_replicas;
mod tls;
mod valid_answers;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use replica_http_adapter::HttpReplicas;
use scaling_tests::replica_server::{Behavior, ReplicaServer};
use shared::model::ReplicaAnswer;
use shared::replicas::ReplicaStatusApi as _;
use shared::settings::StatusApi;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// For replicas that never answer.
const LIMIT: Duration = Duration::from_millis(500);

/// Enough for any answer on a busy machine.
const ENOUGH: Duration = Duration::from_secs(30);

/// The default API on a server's port.
fn api(port: u16) -> StatusApi {
    StatusApi {
        port,
        time_limit: ENOUGH,
        ..StatusApi::default()
    }
}

fn poller() -> HttpReplicas {
    HttpReplicas::new(None).expect("a poller")
}

async fn ask(api: &StatusApi) -> ReplicaAnswer {
    poller().ask(api, LOOPBACK).await
}

/// The poller's conclusion about a replica that answers like this.
async fn poll(behavior: Behavior) -> ReplicaAnswer {
    let server = ReplicaServer::one(behavior).await;
    ask(&api(server.port)).await
}

/// The reason why a replica that answers like this is unknown.
async fn unknown_reason(behavior: Behavior) -> String {
    let shown = format!("{behavior:?}");
    match poll(behavior).await {
        ReplicaAnswer::Unknown { why } => why,
        known => panic!("{shown} gave {known:?}"),
    }
}

/// The same for a replica that never answers: the poll ends, and not before its limit.
async fn unknown_reason_in_time(behavior: Behavior) -> String {
    let server = ReplicaServer::one(behavior).await;
    let api = StatusApi {
        time_limit: LIMIT,
        ..api(server.port)
    };
    let started = Instant::now();
    let ReplicaAnswer::Unknown { why } = ask(&api).await else {
        panic!("it never answers");
    };
    let took = started.elapsed();
    assert!(took >= LIMIT && took < ENOUGH, "{why} after {took:?}");
    why
}
