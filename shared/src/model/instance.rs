//! Instances: rows of the table `instances`, and what may be written to them.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::launching::CapacityPool;
use crate::ids::{ClientSha, ImageId, InstanceId, KeyId, LaunchId};

/// An instance's row, with its slots counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Instance {
    pub id: InstanceId,
    pub launch_id: LaunchId,
    pub image_id: ImageId,
    pub client_sha: ClientSha,
    /// What it was launched from; none in a row of an earlier version.
    pub pool: Option<CapacityPool>,
    pub capacity: u32,
    pub status: InstanceStatus,
    pub launched_at: Timestamp,
    /// When EC2 began to run it; none if nobody has said so before it registered.
    pub running_at: Option<Timestamp>,
    pub active_at: Option<Timestamp>,
    pub draining_since: Option<Timestamp>,
    /// Why it drains; none in a row of an earlier version.
    pub drain_cause: Option<DrainCause>,
    /// What its agent said when it took the instance out of service.
    pub leave_reason: Option<String>,
    /// Since when complete listings of EC2 have not contained it.
    pub missing_since: Option<Timestamp>,
    /// The host agent's last heartbeat.
    pub beat_at: Option<Timestamp>,
    /// When heartbeats began again after a silence.
    pub resumed_at: Option<Timestamp>,
    /// What EC2 has announced for it.
    pub notice: Option<SpotNotice>,
    /// Its agent's newest token; none if that is the token of its launch.
    pub token: Option<NextToken>,
    /// What users connect to; none before it is registered. An IP address or a DNS name, and in rows
    /// of an earlier version any text.
    pub ip_addr: Option<String>,
    /// EC2's addresses, as a pass last wrote them.
    pub private_ip: Option<IpAddr>,
    pub public_ip: Option<IpAddr>,
    pub slots: SlotCounts,
    pub sessions: SessionEnds,
    pub ends: EndCounts,
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

/// A token that a pass wrote for an instance's agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NextToken {
    /// The key that signed it.
    pub key: KeyId,
    pub valid_until: Timestamp,
    /// Since when the agent could have used it; none if it has.
    pub untaken_since: Option<Timestamp>,
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

/// An instance's slots, counted. A slot that cools down is in none of the counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SlotCounts {
    /// Free ones.
    pub waiting: u32,
    pub occupied: u32,
    /// Of the occupied ones: allocated, but not claimed by a connection in time.
    pub unclaimed: u32,
}

/// How the sessions on an instance ended. All of it is zero while `quick_end_seconds` is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SessionEnds {
    /// Different users in a row whose sessions ended within `quick_end_seconds`.
    pub quick: u32,
    /// Different users in a row who never connected.
    pub unclaimed: u32,
    /// A session outlasted `quick_end_seconds`: one that runs, or one that ended within the hour.
    pub live: bool,
}

/// Sessions on an instance that are to end before their users end them, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EndCounts {
    /// A limit comes, and the agent has not been told, or of a later one.
    pub due: u32,
    /// The agent should have ended them.
    pub overdue: u32,
    /// They have ended, and their slots are still occupied.
    pub dying: u32,
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

/// Why an instance drains. Only a drain for surplus is taken back when its slots are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DrainCause {
    /// More slots were free than the buffer needs.
    Surplus,
    /// More instances were live than `max_instances`.
    Maximum,
    /// It made room for a more important image.
    Room,
    /// Its image is not served any more.
    Image,
    /// It has reached the region's `max_age_seconds`.
    MaxAge,
    /// EC2 announced to take it.
    Notice,
    /// Its agent took it out of service.
    Agent,
    /// Its sessions end within seconds, and those of other instances do not.
    Suspect,
    /// Somebody set the row's status by hand.
    Operator,
    /// An operator took the rights of its agent away.
    Revoked,
}

impl DrainCause {
    /// Whether the region's `drain_deadline_seconds` ends the sessions of an instance that drains for
    /// this. The others are drained when they are empty, or are in the hands of EC2, of their agents or of
    /// an operator.
    pub fn has_deadline(self) -> bool {
        matches!(self, Self::Operator | Self::Image | Self::MaxAge)
    }

    pub fn as_sql(self) -> &'static str {
        match self {
            Self::Surplus => "SURPLUS",
            Self::Maximum => "MAXIMUM",
            Self::Room => "ROOM",
            Self::Image => "IMAGE",
            Self::MaxAge => "MAX_AGE",
            Self::Notice => "NOTICE",
            Self::Agent => "AGENT",
            Self::Suspect => "SUSPECT",
            Self::Operator => "OPERATOR",
            Self::Revoked => "REVOKED",
        }
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
    pub subnet_id: Option<String>,
    pub spot: bool,
    pub capacity: u32,
    pub private_ip: Option<IpAddr>,
    pub public_ip: Option<IpAddr>,
    pub launched_at: Timestamp,
}

/// What EC2 says of an instance's addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceAddresses {
    pub id: InstanceId,
    pub private_ip: Option<IpAddr>,
    pub public_ip: Option<IpAddr>,
}

/// The condition under which an instance may become `TERMINATING`. The database checks it again,
/// with the rows locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TerminateIf {
    /// No slot is occupied.
    Empty,
    /// The deadline of its drain is over, and its agent was told of the end of every session in time.
    Deadline,
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
            Self::Deadline => "DEADLINE",
            Self::Lost => "LOST",
            Self::Missing => "MISSING",
            Self::Gone => "GONE",
        }
    }
}
