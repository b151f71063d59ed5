//! What a replica's status means for its external addresses.

use crate::model::ReplicaStatus;

/// Whether a replica may keep, give away or get an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Healthy, and not deleted by this plan. Only such a replica gets an address.
    Stays,
    /// Deleted by this plan.
    Leaves,
    /// EC2 deletes it, or has deleted it.
    Gone,
    Unknown,
    Creating,
}

impl Standing {
    pub(super) fn of(status: &ReplicaStatus, is_deleted: bool) -> Self {
        match status {
            _ if is_deleted => Self::Leaves,
            ReplicaStatus::Healthy { .. } => Self::Stays,
            ReplicaStatus::Creating => Self::Creating,
            ReplicaStatus::Unknown { .. } => Self::Unknown,
            // Only a paused region does not delete these, and it moves no addresses either.
            ReplicaStatus::Terminated | ReplicaStatus::InError { .. } => Self::Leaves,
            ReplicaStatus::Deleting => Self::Gone,
        }
    }
}
