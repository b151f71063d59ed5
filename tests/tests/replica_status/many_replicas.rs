//! Many replicas at once, some of which hang: only their own polls wait for them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use replica_http_adapter::HttpReplicas;
use scaling_tests::replica_server::{Behavior, ReplicaServer, loopback};
use shared::ids::InstanceId;
use shared::model::{Machine, MachineState, ReplicaAnswer};
use shared::replicas::{ReplicaStatusApi, ask_all};
use shared::settings::StatusApi;

use crate::{api, poller};

const REPLICAS: u32 = 200;

/// Far more than the answering ones take together.
const LIMIT: Duration = Duration::from_secs(15);

/// The time of each answer, since the first poll.
struct Timed {
    poller: HttpReplicas,
    started: Instant,
    answered: Arc<Mutex<BTreeMap<IpAddr, Duration>>>,
}

#[async_trait]
impl ReplicaStatusApi for Timed {
    async fn ask(&self, api: &StatusApi, address: IpAddr) -> ReplicaAnswer {
        let answer = self.poller.ask(api, address).await;
        let mut answered = self.answered.lock().unwrap();
        answered.insert(address, self.started.elapsed());
        answer
    }
}

fn hangs(machine: &Machine) -> bool {
    loopback::place(machine.address.unwrap()).is_multiple_of(10)
}

#[tokio::test]
async fn hanging_replicas_do_not_delay_others() {
    let server = ReplicaServer::listen("0.0.0.0:0", None, |address| {
        match loopback::place(address) {
            place if place.is_multiple_of(10) => Behavior::Hangs,
            place => Behavior::healthy(place),
        }
    })
    .await;
    let machines = loopback::machines(REPLICAS);
    let api = StatusApi {
        time_limit: LIMIT,
        ..api(server.port)
    };
    let timed = Timed {
        poller: poller(),
        started: Instant::now(),
        answered: Arc::default(),
    };
    let answers = ask_all(&timed, &api, &machines).await;
    let took = timed.started.elapsed();

    assert_eq!(answers.len(), machines.len());
    let answered = timed.answered.lock().unwrap();
    for machine in machines.values() {
        let (answer, at) = (&answers[&machine.id], answered[&machine.address.unwrap()]);
        if hangs(machine) {
            assert!(matches!(answer, ReplicaAnswer::Unknown { .. }));
            assert!(at >= LIMIT, "{at:?}");
        } else {
            let capacity = loopback::place(machine.address.unwrap());
            assert_eq!(*answer, ReplicaAnswer::Healthy { capacity });
            assert!(at < LIMIT, "{} waited {at:?}", machine.id);
        }
    }
    assert!(took < LIMIT * 3 / 2, "one time limit for all: {took:?}");
}

#[tokio::test]
async fn only_running_replicas_with_an_address_are_polled() {
    let server = ReplicaServer::listen("0.0.0.0:0", None, |_| Behavior::healthy(3)).await;
    let mut machines = loopback::machines(7);
    let states = [
        MachineState::Pending,
        MachineState::Stopping,
        MachineState::Stopped,
        MachineState::ShuttingDown,
        MachineState::Terminated,
    ];
    let mut others = machines.values_mut();
    for (state, machine) in states.into_iter().zip(others.by_ref()) {
        machine.state = state;
    }
    others.next().unwrap().address = None;
    let runs: BTreeSet<InstanceId> = others.map(|machine| machine.id.clone()).collect();

    let answers = ask_all(&poller(), &api(server.port), &machines).await;
    assert_eq!(answers.into_keys().collect::<BTreeSet<_>>(), runs);
    assert_eq!(server.requests().len(), 1);
}
