//! The interface of an algorithm: everything in which one differs from another.

use jiff::Timestamp;

use super::invariants;
use super::invariants::Violation;
use super::plan::Plan;
use super::snapshot::Snapshot;
use crate::ids::InstanceId;

/// One way to decide, chosen for each region by the column `regions.algorithm`.
pub trait ScalingAlgorithm: Send + Sync {
    /// Its name in `regions.algorithm`.
    fn name(&self) -> &'static str;

    /// Equal inputs give equal plans: every order of candidates is total.
    fn decide(&self, snapshot: &Snapshot, now: Timestamp) -> Plan;

    /// What its instances are, and so what a pass observes, launches and completes.
    fn fleet(&self) -> Fleet;

    /// Whether the snapshot justifies deleting a machine that has no row.
    fn may_delete_replica(&self, snapshot: &Snapshot, id: &InstanceId, now: Timestamp) -> bool;

    /// Every rule that the plan breaks; none for a good plan.
    fn violations(&self, snapshot: &Snapshot, plan: &Plan, now: Timestamp) -> Vec<Violation> {
        let may_delete = |id: &InstanceId| self.may_delete_replica(snapshot, id, now);
        invariants::violations(snapshot, plan, &may_delete, now)
    }
}

/// What an algorithm's instances are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fleet {
    /// Instances with a row, slots and a host agent. A launch is complete once its rows exist.
    Instances,
    /// Replicas, which have no row and serve their own status. A pass asks each of them, and lists
    /// the addresses that they carry. A launch is complete once EC2 lists what it launched.
    Replicas,
}
