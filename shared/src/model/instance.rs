//! Instances: rows of the table `instances`, and what may be written to them.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{ClientSha, ImageId, InstanceId, LaunchId};

/// An instance's row, with its slots counted.
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
    /// Since when complete listings of EC2 have not contained it.
    pub missing_since: Option<Timestamp>,
    /// The host agent's last heartbeat.
    pub beat_at: Option<Timestamp>,
    /// When heartbeats began again after a silence.
    pub resumed_at: Option<Timestamp>,
    /// What EC2 has announced for it.
    pub notice: Option<SpotNotice>,
    pub slots: SlotCounts,
}

impl Instance {
    pub fn is_empty(&self) -> bool {
        self.slots.occupied == 0
    }

    /// The last sign of life: the heartbeat, else the registration, else the launch.
    pub fn heard_at(&self) -> Timestamp {
        self.beat_at.or(self.active_at).unwrap_or(self.launched_at)
    }
}

/// What EC2 has announced for an instance. It is known from EC2's events only: no API returns it
/// later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SpotNotice {
    /// The instance is more likely than others to be interrupted. It is replaced, then drained.
    Rebalance,
    /// EC2 takes the instance in two minutes.
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

/// An instance's slots, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SlotCounts {
    pub waiting: u32,
    pub occupied: u32,
    /// Of the occupied ones: allocated, but not claimed by a connection in time.
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
    /// Whether the instance serves users or will; the other states lead to its end.
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

/// A row of `instances` that is to be inserted.
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

/// The condition under which an instance may become `TERMINATING`. The database checks it again,
/// with the rows locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TerminateIf {
    /// No slot is occupied.
    Empty,
    /// The host agent has sent no heartbeat for the region's `lost_seconds`.
    Lost,
    /// The heartbeat is not fresh, and EC2 neither lists the machine nor knows its id.
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
