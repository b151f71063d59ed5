//! The port of state that passes keep between them: launch intents, refusals, the tally of launches,
//! replicas and decisions.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, LaunchId, RegionName};
use crate::lock::{Lease, LockError, WakeMark};
use crate::model::{AddressMoves, Intent, LaunchTally, Refusal};
use crate::report::Decision;

/// A region's stored state.
#[derive(Clone, Debug, Default)]
pub struct RegionState {
    /// The wake mark, if it was set when this was read.
    pub wake_mark: Option<WakeMark>,
    pub open_intents: Vec<Intent>,
    /// Those that are remembered; some are not in force any more.
    pub refusals: Vec<Refusal>,
    /// What was launched in the last hour.
    pub launches: LaunchTally,
    /// Since when the status of each of these replicas has been unknown.
    pub unknown_since: BTreeMap<InstanceId, Timestamp>,
    /// The last move of each external address.
    pub address_moves: AddressMoves,
}

/// The record of a region's replicas, which have no rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// Since when the status of each of these replicas has been unknown.
    pub unknown_since: BTreeMap<InstanceId, Timestamp>,
    /// The replicas that EC2 is asked to delete after this is recorded.
    pub deleting: BTreeSet<InstanceId>,
    /// The moves of addresses, each recorded before EC2 is asked for it.
    #[serde(default)]
    pub address_moves: AddressMoves,
}

/// How an intent ended. It is never opened again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentClosure {
    pub launch_id: LaunchId,
    /// For operators who read the table: `2 of 3 launched`, `no capacity`, …
    pub outcome: String,
    pub refusal: Option<Refusal>,
}

/// Reads and writes the state of regions. Every write checks in its transaction that the lease is
/// still the lock's, and fails with [`LockError::Lost`] if it is not.
#[async_trait]
pub trait StateStore: Send + Sync {
    /// Reads all of a region's state. `now` says which refusals are still remembered.
    async fn region_state(
        &self,
        region: &RegionName,
        now: Timestamp,
    ) -> Result<RegionState, LockError>;

    /// Records intents as open, before EC2 is asked, with the tally that counts them: all of them
    /// or none.
    async fn open_intents(
        &self,
        lease: &Lease,
        intents: &[Intent],
        launches: &LaunchTally,
    ) -> Result<(), LockError>;

    /// Moves intents to the closed ones, and records their refusals: all of them or none. `launches`
    /// is the tally after what was requested and not launched is taken back.
    async fn close_intents(
        &self,
        lease: &Lease,
        closures: &[IntentClosure],
        launches: &LaunchTally,
    ) -> Result<(), LockError>;

    /// Records refusals of pools whose instances did not live, and deletes those of pools whose
    /// instances have lived.
    async fn record_refusals(
        &self,
        lease: &Lease,
        refusals: &[Refusal],
        forgotten: &[Refusal],
    ) -> Result<(), LockError>;

    /// Replaces the record of the region's replicas.
    async fn record_replicas(&self, lease: &Lease, record: &ReplicaRecord)
    -> Result<(), LockError>;

    /// Records a decision, and its counts for charts.
    async fn record_decision(&self, lease: &Lease, decision: &Decision) -> Result<(), LockError>;
}
