//! The poller against real servers, on loopback addresses: what a replica can do to whoever asks
//! it for its status, and what is made of it.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod answers;
mod crowd;
mod lies;
mod misbehaviour;
mod tls;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use replica_http_adapter::HttpReplicas;
use scaling_tests::replica_server::{Manner, ReplicaServer};
use shared::model::ReplicaAnswer;
use shared::replicas::ReplicaStatusApi as _;
use shared::settings::StatusApi;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Short, and far more than a good answer takes.
const LIMIT: Duration = Duration::from_millis(500);

/// The default API, on the port of a server.
fn api(port: u16) -> StatusApi {
    StatusApi {
        port,
        time_limit: LIMIT,
        ..StatusApi::default()
    }
}

fn poller() -> HttpReplicas {
    HttpReplicas::new(None).expect("a poller")
}

async fn ask(api: &StatusApi) -> ReplicaAnswer {
    poller().ask(api, LOOPBACK).await
}

/// What is made of a replica of this manner.
async fn asked(manner: Manner) -> ReplicaAnswer {
    let server = ReplicaServer::one(manner).await;
    ask(&api(server.port)).await
}

/// Why a replica of this manner is unknown.
async fn unknown(manner: Manner) -> String {
    let shown = format!("{manner:?}");
    match asked(manner).await {
        ReplicaAnswer::Unknown { why } => why,
        known => panic!("{shown} gave {known:?}"),
    }
}

/// The same of one that takes its time: no longer than the limit, and not much more.
async fn unknown_in_time(manner: Manner) -> String {
    let started = Instant::now();
    let why = unknown(manner).await;
    let took = started.elapsed();
    assert!(took >= LIMIT && took < 4 * LIMIT, "{why} after {took:?}");
    why
}
