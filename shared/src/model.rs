//! What the service knows of the world: regions, images, instances, machines, intents.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ids::{ClientSha, ClientToken, ImageId, InstanceId, LaunchId, RegionName};

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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ImageState {
    Warming,
    Current,
    Baking,
    Retired,
    Failed,
}

impl ImageState {
    /// Users are assigned to instances of this image.
    pub fn is_served(self) -> bool {
        matches!(self, Self::Current | Self::Baking)
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

/// One way to get capacity: a type in a place, and how many slots it holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "ChoiceColumns", into = "ChoiceColumns")]
pub struct LaunchChoice {
    pub instance_type: String,
    pub capacity: u32,
    pub subnet: Selector,
}

/// A choice as an item of `regions.launch_choices` spells it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with `instance_type`, `capacity`, and `subnet_id` or `subnet_tag`"
)]
struct ChoiceColumns {
    instance_type: String,
    capacity: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    subnet_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subnet_tag: Option<TagColumns>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a tag: an object with `key` and `value`"
)]
struct TagColumns {
    key: String,
    value: String,
}

impl TryFrom<ChoiceColumns> for LaunchChoice {
    type Error = &'static str;

    fn try_from(columns: ChoiceColumns) -> Result<Self, Self::Error> {
        let ChoiceColumns {
            instance_type,
            capacity,
            subnet_id,
            subnet_tag,
        } = columns;
        let subnet = match (subnet_id, subnet_tag) {
            (Some(id), None) => Selector::Id(id),
            (None, Some(TagColumns { key, value })) => Selector::Tag { key, value },
            _ => return Err("give either `subnet_id` or `subnet_tag`"),
        };
        Ok(Self {
            instance_type,
            capacity,
            subnet,
        })
    }
}

impl From<LaunchChoice> for ChoiceColumns {
    fn from(choice: LaunchChoice) -> Self {
        let LaunchChoice {
            instance_type,
            capacity,
            subnet,
        } = choice;
        let (subnet_id, subnet_tag) = match subnet {
            Selector::Id(id) => (Some(id), None),
            Selector::Tag { key, value } => (None, Some(TagColumns { key, value })),
        };
        Self {
            instance_type,
            capacity,
            subnet_id,
            subnet_tag,
        }
    }
}

impl fmt::Display for LaunchChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.instance_type, self.subnet)
    }
}

/// Names a subnet or a security group: by id, or by a tag that is looked up at launch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "must be an id, or a tag: an object with `key` and `value`"
)]
pub enum Selector {
    Id(String),
    Tag { key: String, value: String },
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => f.write_str(id),
            Self::Tag { key, value } => write!(f, "tag {key}={value}"),
        }
    }
}

/// The exact `RunInstances` request of an intent. Nothing of it is resolved again on resume:
/// the same token with other parameters is an error at EC2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchRequest {
    pub image_id: ImageId,
    pub client_sha: ClientSha,
    pub instance_type: String,
    pub subnet_id: String,
    pub security_group_ids: Vec<String>,
    pub instance_profile: Option<String>,
    /// Base64, as the wire wants it.
    pub user_data: String,
    /// In the order in which they are sent.
    pub tags: Vec<(String, String)>,
    pub count: u32,
    /// Slots per instance.
    pub capacity: u32,
}

/// A launch that was decided and recorded, and may or may not have reached EC2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub launch_id: LaunchId,
    pub client_token: ClientToken,
    pub created_at: Timestamp,
    pub request: LaunchRequest,
}

impl Intent {
    /// Past this age the token may have been forgotten by EC2, which promises no period of
    /// validity: asking again could launch again, so it is looked up only.
    pub const RESUMABLE: SignedDuration = SignedDuration::from_hours(12);

    pub fn is_resumable(&self, now: Timestamp) -> bool {
        now.duration_since(self.created_at) <= Self::RESUMABLE
    }
}

/// EC2 had no room for a type in a subnet; not asked again until `until`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub instance_type: String,
    pub subnet_id: String,
    pub until: Timestamp,
}

impl Refusal {
    /// How long a capacity refusal is remembered.
    pub const REMEMBERED: SignedDuration = SignedDuration::from_mins(3);
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
