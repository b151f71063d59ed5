//! Faults of instances: missing or killed agents, interruptions, recommendations.

use serde::{Deserialize, Serialize};

use super::capacity::Pool;
use super::fault::{Fault, matches};
use crate::market::Market;
use crate::world::LaunchFailure;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnInstances {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Applies once to this instance: now if it runs, else when it starts to run. If absent, the
    /// fault applies to the instances that start to run next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub market: Option<Market>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<String>,
    /// The name of an availability zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// Delays count from when the instance starts to run, or from now if it runs already. Those of a
/// failed launch count from the launch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum InstanceEffect {
    /// The agent is never started. Only possible for instances that do not run yet.
    NoBoot,
    /// The agent's process is killed; the instance keeps running.
    AgentDies {
        #[serde(default)]
        after_ms: u64,
    },
    /// A spot interruption: a warning, and then the end of the instance.
    Interrupt {
        #[serde(default)]
        after_ms: u64,
        /// From the warning to the end. EC2 warns two minutes ahead.
        #[serde(default = "two_minutes")]
        warning_ms: u64,
        #[serde(default)]
        action: InterruptAction,
    },
    /// A rebalance recommendation. Nothing follows from it.
    Rebalance {
        #[serde(default)]
        after_ms: u64,
    },
    /// EC2 ends the instance by itself, although it accepted the launch.
    LaunchFails {
        #[serde(default)]
        after_ms: u64,
        reason: LaunchFailure,
    },
}

/// How an interruption ends the instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InterruptAction {
    #[default]
    Terminate,
    Stop,
}

fn two_minutes() -> u64 {
    120_000
}

/// The step of an instance's life at which a fault applies to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppliesFrom {
    Launch,
    /// The instance starts to run.
    Start,
}

impl OnInstances {
    fn applies_to(&self, pool: Pool<'_>, id: &str) -> bool {
        matches(self.region.as_deref(), pool.region)
            && matches(self.instance_id.as_deref(), id)
            && self.market.is_none_or(|market| market == pool.market)
            && matches(self.instance_type.as_deref(), pool.instance_type)
            && matches(self.subnet_id.as_deref(), pool.subnet_id)
            && matches(self.zone.as_deref(), pool.zone)
    }
}

impl InstanceEffect {
    pub(crate) fn after_ms(&self) -> u64 {
        match self {
            Self::NoBoot => 0,
            Self::AgentDies { after_ms }
            | Self::Interrupt { after_ms, .. }
            | Self::Rebalance { after_ms }
            | Self::LaunchFails { after_ms, .. } => *after_ms,
        }
    }

    fn applies_from(&self) -> AppliesFrom {
        match self {
            Self::LaunchFails { .. } => AppliesFrom::Launch,
            Self::NoBoot
            | Self::AgentDies { .. }
            | Self::Interrupt { .. }
            | Self::Rebalance { .. } => AppliesFrom::Start,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::NoBoot => "no_boot",
            Self::AgentDies { .. } => "agent_dies",
            Self::Interrupt { .. } => "interrupt",
            Self::Rebalance { .. } => "rebalance",
            Self::LaunchFails { .. } => "launch_fails",
        }
    }
}

/// See [`super::Faults::apply_to_instance`].
pub(super) fn apply_to(
    faults: &mut [Fault<OnInstances, InstanceEffect>],
    pool: Pool<'_>,
    id: &str,
    from: AppliesFrom,
) -> Vec<InstanceEffect> {
    apply(faults, |fault| {
        fault.effect.applies_from() == from && fault.on.applies_to(pool, id)
    })
}

/// See [`super::Faults::apply_to_named_instance`].
pub(super) fn apply_to_named(
    faults: &mut [Fault<OnInstances, InstanceEffect>],
    pool: Pool<'_>,
    id: &str,
    is_running: bool,
) -> Vec<InstanceEffect> {
    apply(faults, |fault| {
        fault.on.instance_id.is_some()
            && (is_running || fault.effect.applies_from() == AppliesFrom::Launch)
            && fault.on.applies_to(pool, id)
    })
}

fn apply(
    faults: &mut [Fault<OnInstances, InstanceEffect>],
    applies: impl Fn(&Fault<OnInstances, InstanceEffect>) -> bool,
) -> Vec<InstanceEffect> {
    let mut effects = Vec::new();
    for fault in faults {
        if fault.has_ended() || !applies(fault) {
            continue;
        }
        fault.count_application();
        if fault.on.instance_id.is_some() {
            // An instance is launched and started only once, so the fault cannot apply again.
            fault.times = Some(0);
        }
        effects.push(fault.effect.clone());
    }
    effects
}
