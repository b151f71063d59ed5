//! Faults of instances: missing or killed agents, interruptions, recommendations.

use serde::{Deserialize, Serialize};

use super::fault::{Fault, matches};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnInstances {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Applies once to this instance: now if it runs, else when it starts to run. If absent, the
    /// fault applies to the instances that start to run next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
}

/// Delays count from when the instance starts to run, or from now if it runs already.
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

impl InstanceEffect {
    pub(crate) fn after_ms(&self) -> u64 {
        match self {
            Self::NoBoot => 0,
            Self::AgentDies { after_ms }
            | Self::Interrupt { after_ms, .. }
            | Self::Rebalance { after_ms } => *after_ms,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::NoBoot => "no_boot",
            Self::AgentDies { .. } => "agent_dies",
            Self::Interrupt { .. } => "interrupt",
            Self::Rebalance { .. } => "rebalance",
        }
    }
}

/// See [`super::Faults::apply_to_started_instance`].
pub(super) fn apply_to_started(
    faults: &mut [Fault<OnInstances, InstanceEffect>],
    region: &str,
    id: &str,
) -> Vec<InstanceEffect> {
    apply(faults, |on| {
        matches(on.region.as_deref(), region) && matches(on.instance_id.as_deref(), id)
    })
}

/// See [`super::Faults::apply_to_running_instance`].
pub(super) fn apply_to_running(
    faults: &mut [Fault<OnInstances, InstanceEffect>],
    region: &str,
    id: &str,
) -> Vec<InstanceEffect> {
    apply(faults, |on| {
        matches(on.region.as_deref(), region) && on.instance_id.as_deref() == Some(id)
    })
}

fn apply(
    faults: &mut [Fault<OnInstances, InstanceEffect>],
    applies: impl Fn(&OnInstances) -> bool,
) -> Vec<InstanceEffect> {
    let mut effects = Vec::new();
    for fault in faults {
        if fault.has_ended() || !applies(&fault.on) {
            continue;
        }
        fault.count_application();
        if fault.on.instance_id.is_some() {
            // An instance enters the state `running` only once, so the fault cannot apply again.
            fault.times = Some(0);
        }
        effects.push(fault.effect.clone());
    }
    effects
}
