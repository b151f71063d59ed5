//! What the service knows of the world: regions, images, instances, machines, intents.

mod addresses;
mod launching;
mod replicas;

use std::fmt;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use addresses::{
    AddressListing, AddressMove, AddressMoves, AddressTag, Carrier, ExternalAddress,
};
pub use launching::{Intent, LaunchChoice, LaunchRequest, Refusal, Selector};
pub use replicas::{Protocol, ReplicaAnswer, ReplicaSettings, ReplicaStatus, StatusApi};

use crate::ids::{ClientSha, ImageId, InstanceId, LaunchId, RegionName};

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
    pub notice: Option<Notice>,
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
pub enum Notice {
    /// It is more likely than others to be interrupted: better replaced, then left.
    Rebalance,
    /// EC2 takes it in two minutes.
    Interruption,
}

impl fmt::Display for Notice {
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

/// One row of `regions`, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegionSettings {
    pub name: RegionName,
    pub enabled: bool,
    pub paused: bool,
    pub algorithm: String,
    pub target_free: u32,
    pub max_instances: u32,
    /// Instances launched a pass at most; 0 is no bound.
    pub scale_up_step: u32,
    /// Instances drained a pass at most for being surplus; 0 is no bound.
    pub scale_down_step: u32,
    /// In order of preference.
    pub launch_choices: Vec<LaunchChoice>,
    pub security_groups: Vec<Selector>,
    pub instance_profile: Option<String>,
    pub user_data_template: Option<String>,
    pub waits: Waits,
    pub upgrades: Upgrades,
    /// Of the algorithm `replica` only.
    pub replicas: ReplicaSettings,
}

impl RegionSettings {
    /// Whether the provider's list is all there is: no instance has a row.
    pub fn is_of_replicas(&self) -> bool {
        self.algorithm == crate::scaling::REPLICA
    }
}

/// How a region comes to a new image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Upgrades {
    /// Instances beyond `max_instances` while two images run side by side.
    pub surge: u32,
    /// An upgrade that is not warm by then has failed.
    pub deadline: SignedDuration,
    /// The new image becomes current as soon as it is warm, whatever the app version names.
    pub swap_when_warm: bool,
    /// How long the image before stays ready for a way back.
    pub bake: SignedDuration,
    /// Users still on a retired image after that are reported.
    pub old_image: Option<SignedDuration>,
}

impl Default for Upgrades {
    fn default() -> Self {
        Self {
            surge: 0,
            deadline: SignedDuration::from_mins(150),
            swap_when_warm: false,
            bake: SignedDuration::from_mins(30),
            old_image: None,
        }
    }
}

/// How long a region's instances are given for each thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Waits {
    /// A heartbeat older than this: nothing is assigned there, nor counted as free.
    pub heartbeat: SignedDuration,
    /// A heartbeat older than this: the instance is lost.
    pub lost: SignedDuration,
    /// From launch to `ACTIVE`.
    pub boot: SignedDuration,
    /// What an empty draining instance gets to shut itself down.
    pub drain: SignedDuration,
    /// Between the two complete listings that must both miss an instance.
    pub missing: SignedDuration,
    /// Below this age an unknown machine is left alone, because listings lag.
    pub orphan: SignedDuration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            heartbeat: SignedDuration::from_secs(90),
            lost: SignedDuration::from_mins(10),
            boot: SignedDuration::from_mins(10),
            drain: SignedDuration::from_mins(10),
            missing: SignedDuration::from_mins(5),
            orphan: SignedDuration::from_mins(10),
        }
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
