//! SimpleScaleVM's replicas: machines without rows, which report their own status.

use std::fmt;

use serde::Serialize;

use super::machine::MachineState;

/// A replica's answer to a request for its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicaAnswer {
    /// It has this much free capacity.
    Healthy { capacity: u32 },
    /// It has finished and is to be deleted.
    Terminated,
    /// No valid answer, and why.
    Unknown { why: String },
}

/// A replica's status, derived from EC2's state and from its own answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "status")]
pub enum ReplicaStatus {
    /// EC2 starts it: it has no address yet.
    Creating,
    Healthy {
        capacity: u32,
    },
    Terminated,
    /// Neither deleted nor counted.
    Unknown {
        why: String,
    },
    /// EC2 neither starts nor runs it.
    InError {
        state: MachineState,
    },
    /// EC2 deletes it, or has deleted it.
    Deleting,
}

impl fmt::Display for ReplicaStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Creating => f.write_str("creating"),
            Self::Healthy { capacity } => write!(f, "healthy, capacity {capacity}"),
            Self::Terminated => f.write_str("terminated"),
            Self::Unknown { why } => write!(f, "unknown ({why})"),
            Self::InError { state } => write!(f, "in error ({state} at EC2)"),
            Self::Deleting => f.write_str("deleting"),
        }
    }
}
