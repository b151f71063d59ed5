//! Events that get lost on their way, come late, twice or in another order.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Faults, fits};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnEvents {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// As in the event, such as `EC2 Instance State-change Notification`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail_type: Option<String>,
    /// The new state; only state changes have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum EventEffect {
    /// It is never delivered.
    Drop,
    /// It is delivered late.
    DelayMs(u64),
    /// It is delivered so many times more, with the same id.
    Duplicate(u32),
    /// It waits for others that this fault strikes, until there are `count` or `within_ms` are
    /// over; then the last one is delivered first.
    Reorder { count: usize, within_ms: u64 },
}

/// What becomes of one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFate {
    pub is_dropped: bool,
    pub delay: Duration,
    pub duplicates: u32,
    /// How many to wait for, and how long.
    pub reorder: Option<(usize, Duration)>,
    /// The names of the effects, for the ledger.
    pub struck: Vec<&'static str>,
}

impl EventEffect {
    fn name(&self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::DelayMs(_) => "delay",
            Self::Duplicate(_) => "duplicate",
            Self::Reorder { .. } => "reorder",
        }
    }
}

impl EventFate {
    fn add(&mut self, effect: &EventEffect) {
        self.struck.push(effect.name());
        match effect {
            EventEffect::Drop => self.is_dropped = true,
            EventEffect::DelayMs(ms) => self.delay = Duration::from_millis(*ms),
            EventEffect::Duplicate(times) => self.duplicates = *times,
            EventEffect::Reorder { count, within_ms } => {
                self.reorder = Some((*count, Duration::from_millis(*within_ms)));
            }
        }
    }
}

impl Faults {
    /// Decides what becomes of an event, and uses up what strikes it: of each kind the first fault
    /// that applies.
    pub(crate) fn strike_event(
        &mut self,
        region: &str,
        instance_id: &str,
        detail_type: &str,
        state: Option<&str>,
    ) -> EventFate {
        let mut fate = EventFate::default();
        for fault in &mut self.events {
            let on = &fault.on;
            let applies = !fault.is_over()
                && fits(on.region.as_deref(), region)
                && fits(on.instance_id.as_deref(), instance_id)
                && fits(on.detail_type.as_deref(), detail_type)
                && (on.state.is_none() || on.state.as_deref() == state);
            if applies && !fate.struck.contains(&fault.effect.name()) {
                fault.strike();
                fate.add(&fault.effect);
            }
        }
        fate
    }
}
