//! Asking replicas for their status: SimpleScaleVM's status service.

use std::collections::BTreeMap;
use std::net::IpAddr;

use async_trait::async_trait;
use futures::StreamExt as _;

use crate::ids::InstanceId;
use crate::model::{Machine, MachineState, ReplicaAnswer};
use crate::settings::StatusApi;

/// Replicas that are asked at the same time. A Lambda function may have 1,024 files open.
const AT_ONCE: usize = 500;

/// Asks one replica.
#[async_trait]
pub trait ReplicaStatusApi: Send + Sync {
    /// Never fails: what cannot be understood is [`ReplicaAnswer::Unknown`].
    async fn ask(&self, api: &StatusApi, address: IpAddr) -> ReplicaAnswer;
}

/// Asks every machine that runs and has an address, many at once: one that hangs delays nobody.
pub async fn ask_all(
    port: &dyn ReplicaStatusApi,
    api: &StatusApi,
    machines: &BTreeMap<InstanceId, Machine>,
) -> BTreeMap<InstanceId, ReplicaAnswer> {
    let questions: Vec<_> = machines
        .values()
        .filter(|machine| machine.state == MachineState::Running)
        .filter_map(|machine| Some((machine.id.clone(), machine.address?)))
        .map(|(id, address)| ask_one(port, api, id, address))
        .collect();
    futures::stream::iter(questions)
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
