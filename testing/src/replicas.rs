//! Replicas' status APIs, in memory.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use shared::model::ReplicaAnswer;
use shared::replicas::ReplicaStatusApi;
use shared::settings::StatusApi;

/// The answer of each address. Other addresses give no answer.
#[derive(Debug, Default)]
pub struct FakeReplicas(Mutex<BTreeMap<IpAddr, ReplicaAnswer>>);

impl FakeReplicas {
    pub fn answers(&self) -> MutexGuard<'_, BTreeMap<IpAddr, ReplicaAnswer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ReplicaStatusApi for FakeReplicas {
    async fn ask(&self, _: &StatusApi, address: IpAddr) -> ReplicaAnswer {
        let answer = self.answers().get(&address).cloned();
        answer.unwrap_or_else(|| ReplicaAnswer::Unknown {
            why: "no answer".to_owned(),
        })
    }
}
