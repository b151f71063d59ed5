//! Instances: rows of the table `instances`, and what may be written to them.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{ClientSha, ImageId, InstanceId, LaunchId};

/// An instance's row: what Postgres knows of it, with its slots counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Instance {
    pub id: InstanceId,
    pub launch_id: LaunchId,
    pub image_id: ImageId,
    pub client_sha: ClientSha,
    pub capacity: u32,
    pub status: InstanceStatus,
    pub launched_at: Timestamp,
    pub active_at: Option<Timestamp>,
    pub draining_since: Option<Timestamp>,
    /// Since when complete listings of EC2 have not named it.
    pub missing_since: Option<Timestamp>,
    /// The host agent's last heartbeat.
    pub beat_at: Option<Timestamp>,
    /// When it was heard of again after a silence.
    pub resumed_at: Option<Timestamp>,
    /// What EC2 said that it is about to do to it.
    pub notice: Option<SpotNotice>,
    pub slots: SlotCounts,
}

impl Instance {
    pub fn is_empty(&self) -> bool {
        self.slots.occupied == 0
    }

    /// When the host agent was last heard of: its heartbeat, its registration, its launch.
    pub fn heard_at(&self) -> Timestamp {
        self.beat_at.or(self.active_at).unwrap_or(self.launched_at)
    }
}

/// EC2's word on an instance, from its events: no API tells it to whoever asks later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SpotNotice {
    /// It is more likely than others to be interrupted: better replaced, then left.
    Rebalance,
    /// EC2 takes it in two minutes.
    Interruption,
}

impl fmt::Display for SpotNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rebalance => "REBALANCE",
            Self::Interruption => "INTERRUPTION",
        })
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SlotCounts {
    pub waiting: u32,
    pub occupied: u32,
    /// Of the occupied: allocated, and not claimed by a connection in time.
    pub unclaimed: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InstanceStatus {
    PreConnection,
    Active,
    Draining,
    Terminating,
}

impl InstanceStatus {
    /// It serves users, or is about to; the others are on their way out.
    pub fn is_in_service(self) -> bool {
        matches!(self, Self::PreConnection | Self::Active)
    }
}

impl fmt::Display for InstanceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PreConnection => "PRE_CONNECTION",
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Terminating => "TERMINATING",
        })
    }
}

/// A row of `instances` to be inserted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewInstance {
    pub id: InstanceId,
    pub launch_id: LaunchId,
    pub image_id: ImageId,
    pub client_sha: ClientSha,
    pub instance_type: String,
    pub capacity: u32,
    pub launched_at: Timestamp,
}

/// On what condition an instance may become `TERMINATING`; checked again by the database
/// with the rows locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TerminateIf {
    /// No slot is occupied.
    Empty,
    /// The host agent has been silent for the region's `lost_seconds`.
    Lost,
    /// No heartbeat is fresh, and EC2 neither lists the machine nor knows it by its id.
    Missing,
    /// EC2 says that the machine is shutting down or terminated.
    Gone,
}

impl TerminateIf {
    pub fn as_sql(self) -> &'static str {
        match self {
            Self::Empty => "EMPTY",
            Self::Lost => "LOST",
            Self::Missing => "MISSING",
            Self::Gone => "GONE",
        }
    }
}
