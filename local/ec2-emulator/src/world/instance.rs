//! One instance, whose state is a function of time: a launch and a termination write down the
//! states to come with their moments, and asking is looking them up.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{MetadataOptions, Subnet, Tags};
use crate::clock::UnixMillis;
use crate::faults::{InstanceEffect, InterruptAction};

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

    /// EC2's number for it.
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

/// A state and the moment it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Transition {
    pub state: State,
    pub at_ms: UnixMillis,
}

/// What becomes of an instance whose own operating system shuts down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ShutdownBehavior {
    /// EC2's default.
    #[default]
    Stop,
    Terminate,
}

/// Where an instance is bought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    #[default]
    OnDemand,
    /// By a request for one instance and one life.
    Spot,
}

/// Who ended an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EndedBy {
    /// A request to EC2.
    User,
    /// The instance itself.
    Instance,
    /// EC2, which took it back after a warning.
    Spot,
}

impl EndedBy {
    pub fn code(self) -> &'static str {
        match self {
            Self::User => "Client.UserInitiatedShutdown",
            Self::Instance => "Client.InstanceInitiatedShutdown",
            Self::Spot => "Server.SpotInstanceTermination",
        }
    }

    /// What the state's reason says behind the code.
    pub fn message(self) -> &'static str {
        match self {
            Self::User => "User initiated shutdown",
            Self::Instance => "Instance initiated shutdown",
            Self::Spot => "Spot instance termination",
        }
    }

    /// The reason of the transition, without its time.
    pub fn reason(self) -> &'static str {
        match self {
            Self::User => "User initiated",
            Self::Instance => "Instance initiated",
            Self::Spot => "Server.SpotInstanceTermination",
        }
    }
}

/// The life of a host agent's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgentRun {
    pub pid: u32,
    pub started_at_ms: UnixMillis,
    pub ended_at_ms: Option<UnixMillis>,
    /// How it ended, in words: `exit status: 0`, `killed with its instance`.
    pub end: Option<String>,
}

/// A fault that strikes an instance, or struck it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Strike {
    pub effect: InstanceEffect,
    pub at_ms: UnixMillis,
}

/// EC2 has warned that it takes the instance back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Interruption {
    pub warned_at_ms: UnixMillis,
    pub due_at_ms: UnixMillis,
    pub action: InterruptAction,
}

/// What a launch says about each of its instances.
#[derive(Clone, Debug)]
pub struct LaunchSpec {
    pub image_id: String,
    pub market: Market,
    pub instance_type: String,
    pub subnet_id: Option<String>,
    pub group_ids: Vec<String>,
    pub profile_arn: Option<String>,
    /// Decoded.
    pub user_data: Option<Vec<u8>>,
    pub ebs_optimized: bool,
    pub monitoring: bool,
    pub metadata_options: MetadataOptions,
    pub key_name: Option<String>,
    pub shutdown_behavior: ShutdownBehavior,
    pub client_token: Option<String>,
}

/// A security group on an instance.
#[derive(Clone, Debug)]
pub struct Group {
    pub id: String,
    pub name: String,
}

#[derive(Clone, Debug)]
pub struct Instance {
    pub id: String,
    /// Its place in the order of all launches.
    pub seq: u64,
    pub owner_id: String,
    pub reservation_id: String,
    /// Its number within its launch.
    pub launch_index: u32,
    pub spec: LaunchSpec,
    pub architecture: &'static str,
    pub subnet: Subnet,
    pub groups: Vec<Group>,
    pub tags: Tags,
    pub private_ip: Ipv4Addr,
    /// Where its host agent is reachable on this machine: an address of the loopback network,
    /// which EC2's answers give as the public one.
    pub public_ip: Ipv4Addr,
    pub launched_at: UnixMillis,
    pub ended: Option<(EndedBy, UnixMillis)>,
    /// The host agent that runs, or ran, on it.
    pub agent: Option<AgentRun>,
    /// In the order of their times; those to come as well as those that were.
    pub faults: Vec<Strike>,
    pub interruption: Option<Interruption>,
    /// In order; those to come as well as those that were.
    pub(super) transitions: Vec<Transition>,
    /// How many of the transitions [`super::World::advance`] has told about.
    pub(super) announced: usize,
    /// How many of the faults [`super::World::advance`] has let happen.
    pub(super) struck: usize,
    /// When EC2 forgets it.
    pub(super) forgotten_at: Option<UnixMillis>,
}

impl Instance {
    /// `None` before it was launched.
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

    /// Replaces what was to come by these two states.
    pub(super) fn end(
        &mut self,
        by: EndedBy,
        [ending, ended]: [State; 2],
        now: UnixMillis,
        ended_at: UnixMillis,
    ) {
        let past = self.transitions_until(now).len();
        self.transitions.truncate(past);
        self.transitions.push(Transition {
            state: ending,
            at_ms: now,
        });
        self.transitions.push(Transition {
            state: ended,
            at_ms: ended_at,
        });
        self.ended = Some((by, now));
        self.forgo_faults(now);
    }

    /// Whether its agent is never started.
    pub fn never_boots(&self) -> bool {
        self.faults
            .iter()
            .any(|strike| strike.effect == InstanceEffect::NoBoot)
    }

    /// Has a fault strike when its time has come, which this answers.
    pub(super) fn plan(&mut self, effect: InstanceEffect, now: UnixMillis) -> UnixMillis {
        let at_ms = now.after(Duration::from_millis(effect.after_ms()));
        let place = self.faults.partition_point(|other| other.at_ms <= at_ms);
        self.faults.insert(place, Strike { effect, at_ms });
        at_ms
    }

    /// Nothing strikes any more that has not struck by `now`.
    pub(super) fn forgo_faults(&mut self, now: UnixMillis) {
        self.faults.retain(|strike| strike.at_ms <= now);
    }
}
