//! The status of many replicas, some of which hang: what a pass of the algorithm `replica` waits
//! for before it can decide.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use replica_http_adapter::HttpReplicas;
use scaling_bench::{Quantity, Row, Samples, Section};
use scaling_tests::replica_server::{Behavior, ReplicaServer, loopback};
use shared::ids::InstanceId;
use shared::model::{Machine, ReplicaAnswer};
use shared::replicas::ask_all;
use shared::settings::StatusApi;

const REPLICAS: u32 = 1_000;
/// One in this many replicas hangs.
const HANGING: u32 = 10;
const RUNS: usize = 5;

/// For connections to a thousand replicas on a busy machine.
const MARGIN: Duration = Duration::from_secs(1);

pub(crate) async fn measure() -> Result<Section> {
    let all_answer = ReplicaServer::listen("0.0.0.0:0", None, |_| Behavior::healthy(3)).await;
    let some_hang = ReplicaServer::listen("0.0.0.0:0", None, |address| {
        if loopback::place(address).is_multiple_of(HANGING) {
            Behavior::Hangs
        } else {
            Behavior::healthy(3)
        }
    })
    .await;
    let machines = loopback::machines(REPLICAS);
    let limit = StatusApi::default().time_limit;
    let hanging = REPLICAS / HANGING;
    let rows = vec![
        Row::single("the time limit of one request", Quantity::Time(limit)),
        Row::timed(
            format!("{REPLICAS} replicas, all answer"),
            &measure_poll(&machines, &all_answer, 0).await?,
        ),
        Row::timed(
            format!("{REPLICAS} replicas, {hanging} of them hang"),
            &measure_poll(&machines, &some_hang, hanging).await?,
        )
        .at_most(Quantity::Time(limit + MARGIN)),
    ];
    Ok(Section {
        title: "replicas' status".to_owned(),
        method: "Each replica has a loopback address of its own. One server in this process, a dev build, \
              listens on all of them and tells them apart by their addresses; the service's own \
              poller asks, over one connection each."
            .to_owned(),
        rows,
    })
}

async fn measure_poll(
    machines: &BTreeMap<InstanceId, Machine>,
    server: &ReplicaServer,
    hanging: u32,
) -> Result<Samples> {
    let poller = HttpReplicas::new(None)?;
    let api = StatusApi {
        port: server.port,
        ..StatusApi::default()
    };
    let mut times = Samples::default();
    for _ in 0..RUNS {
        let started = Instant::now();
        let answers = ask_all(&poller, &api, machines).await;
        times.push(started.elapsed());
        let healthy = ReplicaAnswer::Healthy { capacity: 3 };
        let silent = answers
            .values()
            .filter(|answer| **answer != healthy)
            .count();
        ensure!(
            silent == hanging as usize,
            "{silent} of {} gave no answer, instead of {hanging}",
            answers.len()
        );
    }
    Ok(times)
}
