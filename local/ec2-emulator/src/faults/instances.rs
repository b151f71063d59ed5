//! What happens to instances that nobody asked for.

use serde::{Deserialize, Serialize};

use super::{Faults, fits};
use crate::clock::UnixMillis;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnInstances {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// This instance, once and now if it runs; the next that start to run when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
}

/// Delays count from the moment the instance runs, or from now for one that runs already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum InstanceEffect {
    /// Its agent is never started. Only for instances that do not run yet.
    NoBoot,
    /// Its agent's process is killed; the machine goes on.
    AgentDies {
        #[serde(default)]
        after_ms: u64,
    },
    /// The warning that a spot instance gets, and then its end.
    Interrupt {
        #[serde(default)]
        after_ms: u64,
        /// From the warning to the end.
        #[serde(default = "two_minutes")]
        warning_ms: u64,
        #[serde(default)]
        action: InterruptAction,
    },
    /// The recommendation to move on, without any consequence.
    Rebalance {
        #[serde(default)]
        after_ms: u64,
    },
}

/// What an interruption ends in.
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
}

impl Faults {
    /// What happens to an instance that starts to run at `now`, and uses up that much.
    pub(crate) fn strike_instance(
        &mut self,
        region: &str,
        id: &str,
        now: UnixMillis,
    ) -> Vec<InstanceEffect> {
        self.advance(now);
        self.strike_those(|on| {
            fits(on.region.as_deref(), region) && fits(on.instance_id.as_deref(), id)
        })
    }

    /// As [`Faults::strike_instance`], for an instance that runs already: only what names it.
    pub(crate) fn strike_named(&mut self, region: &str, id: &str) -> Vec<InstanceEffect> {
        self.strike_those(|on| {
            fits(on.region.as_deref(), region) && on.instance_id.as_deref() == Some(id)
        })
    }

    fn strike_those(&mut self, applies: impl Fn(&OnInstances) -> bool) -> Vec<InstanceEffect> {
        let mut effects = Vec::new();
        for fault in &mut self.instances {
            if fault.is_over() || !applies(&fault.on) {
                continue;
            }
            fault.strike();
            if fault.on.instance_id.is_some() {
                // It will not start to run again.
                fault.times = Some(0);
            }
            effects.push(fault.effect.clone());
        }
        effects
    }
}
