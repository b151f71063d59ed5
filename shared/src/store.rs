//! What passes keep of a region between them: launch intents, capacity refusals, decisions.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, LaunchId, RegionName};
use crate::lock::{Lease, LockError, WakeMark};
use crate::model::{AddressMoves, CapacityRefusal, Intent};
use crate::report::Decision;

/// What is remembered of a region between passes.
#[derive(Clone, Debug, Default)]
pub struct RegionState {
    /// The wake mark that was set when this was read.
    pub wake_mark: Option<WakeMark>,
    pub open_intents: Vec<Intent>,
    /// Those that have not run out.
    pub refusals: Vec<CapacityRefusal>,
    /// Since when replicas have given no word.
    pub unknown_since: BTreeMap<InstanceId, Timestamp>,
    /// The last moves of external addresses.
    pub address_moves: AddressMoves,
}

/// What is written down of a region's replicas, which have no rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// Since when these have given no word.
    pub unknown_since: BTreeMap<InstanceId, Timestamp>,
    /// EC2 is asked to delete these, and only once this is written.
    pub deleting: BTreeSet<InstanceId>,
    /// As these: EC2 is asked to move addresses only once this is written.
    #[serde(default)]
    pub address_moves: AddressMoves,
}

/// How an intent ended; it is never opened again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentClosure {
    pub launch_id: LaunchId,
    /// For the reader of the table: `launched`, `no capacity`, …
    pub outcome: String,
    pub refusal: Option<CapacityRefusal>,
}

/// What the holder of a lock writes down. Every write checks the lock in its transaction.
#[async_trait]
pub trait StateStore: Send + Sync {
    async fn region_state(
        &self,
        region: &RegionName,
        now: Timestamp,
    ) -> Result<RegionState, LockError>;

    async fn open_intent(&self, lease: &Lease, intent: &Intent) -> Result<(), LockError>;

    async fn close_intent(&self, lease: &Lease, closing: &IntentClosure) -> Result<(), LockError>;

    /// Over what was written before.
    async fn record_replicas(&self, lease: &Lease, notes: &ReplicaRecord) -> Result<(), LockError>;

    async fn record_decision(&self, lease: &Lease, decision: &Decision) -> Result<(), LockError>;
}
