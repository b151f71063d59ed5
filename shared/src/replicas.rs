//! The port of replicas' status APIs, and asking many replicas at once.

use std::collections::BTreeMap;
use std::net::IpAddr;

use async_trait::async_trait;
use futures::StreamExt as _;

use crate::ids::InstanceId;
use crate::model::{Machine, MachineState, ReplicaAnswer};
use crate::settings::StatusApi;

/// The most replicas that are asked at the same time. A Lambda function may have 1,024 open files.
const AT_ONCE: usize = 500;

/// Asks a replica for its status.
#[async_trait]
pub trait ReplicaStatusApi: Send + Sync {
    /// Never fails: no answer, or an invalid one, is [`ReplicaAnswer::Unknown`].
    async fn ask(&self, api: &StatusApi, address: IpAddr) -> ReplicaAnswer;
}

/// Asks every running machine that has an address, many at once: one that hangs does not delay the
/// others.
pub async fn ask_all(
    port: &dyn ReplicaStatusApi,
    api: &StatusApi,
    machines: &BTreeMap<InstanceId, Machine>,
) -> BTreeMap<InstanceId, ReplicaAnswer> {
    let requests: Vec<_> = machines
        .values()
        .filter(|machine| machine.state == MachineState::Running)
        .filter_map(|machine| Some((machine.id.clone(), machine.address?)))
        .map(|(id, address)| ask_one(port, api, id, address))
        .collect();
    futures::stream::iter(requests)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

async fn ask_one(
    port: &dyn ReplicaStatusApi,
    api: &StatusApi,
    id: InstanceId,
    address: IpAddr,
) -> (InstanceId, ReplicaAnswer) {
    (id, port.ask(api, address).await)
}
