//! SimpleScaleVM's replicas: machines without a row, which tell their own status.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Serialize;

use super::{AddressTag, MachineState};

/// How a region's replicas are counted and asked. The names of the settings are SimpleScaleVM's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplicaSettings {
    /// What a replica that is being created will have: `REPLICA_CAPACITY`.
    pub capacity: u32,
    /// What should be available at all times: `REPLICA_MIN_AVAILABLE_RESOURCES`.
    pub min_available: u32,
    pub api: StatusApi,
    /// Delete replicas that are superfluous and report their full capacity.
    pub trim: bool,
    /// One that runs and gives no answer yet still counts as being created for so long after its
    /// launch.
    pub boot: Option<SignedDuration>,
    /// Replace a replica that is unknown for so long.
    pub replace_unknown: Option<SignedDuration>,
    /// The pool of Elastic IPs that healthy replicas carry.
    pub address_tag: Option<AddressTag>,
}

impl Default for ReplicaSettings {
    fn default() -> Self {
        Self {
            capacity: 1,
            min_available: 3,
            api: StatusApi::default(),
            trim: false,
            boot: None,
            replace_unknown: None,
            address_tag: None,
        }
    }
}

/// Where a replica tells its status, and in which words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatusApi {
    pub protocol: Protocol,
    pub port: u16,
    /// Begins with `/`.
    pub path: String,
    pub capacity_key: String,
    pub termination_key: String,
    /// For the whole of one question.
    pub time_limit: Duration,
}

impl Default for StatusApi {
    fn default() -> Self {
        Self {
            protocol: Protocol::Http,
            port: 8080,
            path: "/".to_owned(),
            capacity_key: "capacity".to_owned(),
            termination_key: "termination".to_owned(),
            time_limit: Duration::from_secs(3),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Http,
    Https,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

impl FromStr for Protocol {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "http" => Ok(Self::Http),
            "https" => Ok(Self::Https),
            _ => Err(()),
        }
    }
}

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
