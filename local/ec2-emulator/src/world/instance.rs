//! One instance.
//!
//! Its state is a function of time: a launch and a shutdown record the future transitions with
//! their times, and [`Instance::state_at`] looks the state up. A listing can therefore show
//! any past state.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ended_by::EndedBy;
use super::file::{Subnet, Tags};
use super::metadata::MetadataOptions;
use crate::clock::UnixMillis;
use crate::faults::{InstanceEffect, InterruptAction, Pool};
use crate::market::Market;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    /// EC2's numeric code of the state.
    pub fn code(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }
}

/// A state and when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Transition {
    pub state: State,
    pub at_ms: UnixMillis,
}

/// What EC2 does with an instance whose own operating system shuts down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ShutdownBehavior {
    /// EC2's default.
    #[default]
    Stop,
    Terminate,
}

/// One run of a host agent's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgentRun {
    pub pid: u32,
    pub started_at_ms: UnixMillis,
    pub ended_at_ms: Option<UnixMillis>,
    /// How the process ended: `exit status: 0`, `killed with its instance`.
    pub end: Option<String>,
}

/// A fault that is applied to an instance at a given time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScheduledFault {
    pub effect: InstanceEffect,
    pub at_ms: UnixMillis,
}

/// An interruption that EC2 has warned of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Interruption {
    pub warned_at_ms: UnixMillis,
    pub due_at_ms: UnixMillis,
    pub action: InterruptAction,
}

/// The parameters of a launch that are the same for all of its instances.
#[derive(Clone, Debug)]
pub struct LaunchSpec {
    pub image_id: String,
    pub market: Market,
    pub instance_type: String,
    pub subnet_id: Option<String>,
    pub group_ids: Vec<String>,
    pub profile_arn: Option<String>,
    /// Decoded from base64.
    pub user_data: Option<Vec<u8>>,
    pub ebs_optimized: bool,
    pub monitoring: bool,
    pub metadata_options: MetadataOptions,
    pub key_name: Option<String>,
    pub shutdown_behavior: ShutdownBehavior,
    pub client_token: Option<String>,
}

/// A security group of an instance.
#[derive(Clone, Debug)]
pub struct Group {
    pub id: String,
    pub name: String,
}

#[derive(Clone, Debug)]
pub struct Instance {
    pub id: String,
    /// Increases with every launched instance of the emulator.
    pub seq: u64,
    pub owner_id: String,
    pub reservation_id: String,
    /// The instance's position within its launch, from 0.
    pub launch_index: u32,
    pub spec: LaunchSpec,
    pub architecture: &'static str,
    pub subnet: Subnet,
    pub groups: Vec<Group>,
    pub tags: Tags,
    pub private_ip: Ipv4Addr,
    /// A loopback address at which the instance's host agent is reachable on this machine.
    /// Responses give it as the public address.
    pub public_ip: Ipv4Addr,
    pub launched_at: UnixMillis,
    pub ended: Option<(EndedBy, UnixMillis)>,
    /// The latest run of the instance's host agent.
    pub agent: Option<AgentRun>,
    /// Past and future ones, in the order of their times.
    pub faults: Vec<ScheduledFault>,
    pub interruption: Option<Interruption>,
    /// Past and future ones, in the order of their times.
    pub(super) transitions: Vec<Transition>,
    /// How many of `transitions` were published as changes.
    pub(super) published_transitions: usize,
    /// How many of `faults` were applied.
    pub(super) applied_faults: usize,
    /// When a terminated instance loses its tags.
    pub(super) untagged_at: Option<UnixMillis>,
    /// When EC2 stops knowing the instance's id.
    pub(super) archived_at: Option<UnixMillis>,
}

impl Instance {
    /// The state at that time; `None` before the launch.
    pub fn state_at(&self, at: UnixMillis) -> Option<State> {
        self.transitions_until(at)
            .last()
            .map(|transition| transition.state)
    }

    pub fn transitions_until(&self, at: UnixMillis) -> &[Transition] {
        let until = self
            .transitions
            .partition_point(|transition| transition.at_ms <= at);
        &self.transitions[..until]
    }

    /// Replaces the future transitions by `ending`, and discards pending faults.
    pub(super) fn end(
        &mut self,
        by: EndedBy,
        ending: impl IntoIterator<Item = Transition>,
        now: UnixMillis,
    ) {
        let past = self.transitions_until(now).len();
        self.transitions.truncate(past);
        self.transitions.extend(ending);
        self.ended = Some((by, now));
        self.discard_pending_faults(now);
    }

    /// Where the instance was launched, for faults.
    pub(super) fn pool<'a>(&'a self, region: &'a str) -> Pool<'a> {
        Pool {
            region,
            market: self.spec.market,
            instance_type: &self.spec.instance_type,
            subnet_id: &self.subnet.id,
            zone: &self.subnet.zone,
        }
    }

    /// Whether a fault keeps the agent from being started.
    pub fn never_boots(&self) -> bool {
        self.faults
            .iter()
            .any(|fault| fault.effect == InstanceEffect::NoBoot)
    }

    /// Schedules a fault after the effect's delay, and returns its time.
    pub(super) fn schedule_fault(&mut self, effect: InstanceEffect, now: UnixMillis) -> UnixMillis {
        let at_ms = now.after(Duration::from_millis(effect.after_ms()));
        let place = self.faults.partition_point(|other| other.at_ms <= at_ms);
        self.faults.insert(place, ScheduledFault { effect, at_ms });
        at_ms
    }

    /// Removes the faults that are due after `now`.
    pub(super) fn discard_pending_faults(&mut self, now: UnixMillis) {
        self.faults.retain(|fault| fault.at_ms <= now);
    }
}
