//! The interface of an algorithm: everything in which one differs from another.

use jiff::Timestamp;

use super::plan::Plan;
use super::snapshot::Snapshot;
use crate::ids::InstanceId;

/// One way to decide. The column `regions.algorithm` chooses it for each region.
pub trait ScalingAlgorithm: Send + Sync {
    /// Its name in `regions.algorithm`.
    fn name(&self) -> &'static str;

    /// Equal inputs give equal plans: every order of candidates is total.
    fn decide(&self, snapshot: &Snapshot, now: Timestamp) -> Plan;

    /// The kind of its instances: it decides what a pass observes, launches and completes.
    fn fleet(&self) -> Fleet;

    /// Whether the snapshot justifies deleting a machine that has no row. The invariants ask this
    /// about each replica that a plan deletes.
    fn may_delete_replica(&self, snapshot: &Snapshot, id: &InstanceId, now: Timestamp) -> bool;
}

/// The kind of an algorithm's instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fleet {
    /// Instances with a row, slots and a host agent. A launch is complete once its rows exist.
    Instances,
    /// Replicas: machines without a row that report their own status. A pass asks each of them
    /// for its status and lists their external addresses. A launch is complete once EC2 lists its
    /// machines.
    Replicas,
}
