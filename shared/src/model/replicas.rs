//! SimpleScaleVM's replicas: machines without a row, which tell their own status.

use std::fmt;

use serde::Serialize;

use super::machine::MachineState;

/// What a replica said when it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicaAnswer {
    /// So much is free on it.
    Healthy { capacity: u32 },
    /// It is done and wants to be deleted.
    Terminated,
    /// Nothing that could be understood, and why.
    Unknown { why: String },
}

/// How a replica stands, by the provider's word and its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "status")]
pub enum ReplicaStatus {
    /// The provider builds it: it has no address yet.
    Creating,
    Healthy {
        capacity: u32,
    },
    Terminated,
    /// Neither deleted nor counted.
    Unknown {
        why: String,
    },
    /// The provider neither builds nor runs it.
    InError {
        state: MachineState,
    },
    /// The provider is about to delete it, or has.
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
