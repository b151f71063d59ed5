//! The algorithm `adaptive`: `default` with a target that follows the region's users.
//!
//! Everything but the target is `default`'s: see `target.rs`.

use jiff::Timestamp;

use super::algorithm::{Fleet, ScalingAlgorithm};
use super::default::DefaultAlgorithm;
use super::plan::Plan;
use super::snapshot::Snapshot;
use crate::ids::InstanceId;
use crate::settings::ADAPTIVE;

#[derive(Debug)]
pub(super) struct AdaptiveAlgorithm;

impl ScalingAlgorithm for AdaptiveAlgorithm {
    fn name(&self) -> &'static str {
        ADAPTIVE
    }

    fn decide(&self, snapshot: &Snapshot, now: Timestamp) -> Plan {
        DefaultAlgorithm.decide(snapshot, now)
    }

    fn fleet(&self) -> Fleet {
        DefaultAlgorithm.fleet()
    }

    fn may_delete_replica(&self, snapshot: &Snapshot, id: &InstanceId, now: Timestamp) -> bool {
        DefaultAlgorithm.may_delete_replica(snapshot, id, now)
    }
}
