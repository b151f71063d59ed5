//! What the service knows of the world: regions, images, instances, machines, intents.

mod addresses;
mod launching;
mod replicas;

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use addresses::{AddressListing, AddressMove, AddressMoves, Carrier, ExternalAddress};
pub use launching::{CapacityRefusal, Intent, LaunchRequest};
pub use replicas::{ReplicaAnswer, ReplicaStatus};

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

/// One virtual machine as EC2 lists it, found by our tags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    pub id: InstanceId,
    pub state: MachineState,
    pub launched_at: Timestamp,
    /// From the tag `scaling:launch`; none on a machine that carries our stack's tag by mistake.
    pub launch_id: Option<LaunchId>,
    pub image_id: ImageId,
    pub client_sha: ClientSha,
    pub instance_type: String,
    pub capacity: u32,
    /// Its own within its network; none before EC2 gives it one.
    pub address: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineState {
    Pending,
    Running,
    Stopping,
    Stopped,
    ShuttingDown,
    Terminated,
}

impl fmt::Display for MachineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl MachineState {
    /// EC2's own word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
        }
    }

    /// EC2 has given the machine up: nothing runs there and nothing will.
    pub fn is_going(self) -> bool {
        matches!(self, Self::ShuttingDown | Self::Terminated)
    }

    /// Nothing runs there. A stopped machine could be started again, but no host agent of ours
    /// stops one, and its users are gone.
    pub fn is_down(self) -> bool {
        self.is_going() || matches!(self, Self::Stopping | Self::Stopped)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Image {
    pub id: ImageId,
    pub client_sha: ClientSha,
    pub state: ImageState,
    /// When it came into this state.
    pub since: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ImageState {
    Warming,
    Current,
    Baking,
    Retired,
    Failed,
}

impl fmt::Display for ImageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warming => "WARMING",
            Self::Current => "CURRENT",
            Self::Baking => "BAKING",
            Self::Retired => "RETIRED",
            Self::Failed => "FAILED",
        })
    }
}

impl ImageState {
    /// Users are assigned to instances of this image.
    pub fn is_served(self) -> bool {
        matches!(self, Self::Current | Self::Baking)
    }

    /// Instances of this image are kept ready: for users, for a way back, or for the swap.
    pub fn has_buffer(self) -> bool {
        matches!(self, Self::Current | Self::Baking | Self::Warming)
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
