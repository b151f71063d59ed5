//! Faults of events: lost, late, duplicated or reordered deliveries.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fault::{Fault, matches};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnEvents {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// The event's `detail-type`, such as `EC2 Instance State-change Notification`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail_type: Option<String>,
    /// The new state, in events of state changes. Other events have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum EventEffect {
    /// The event is never delivered.
    Drop,
    /// The event is delivered late.
    DelayMs(u64),
    /// The event is delivered this number of additional times, with the same id.
    Duplicate(u32),
    /// The event waits until the fault has applied to `count` events, or until `within_ms` are over.
    /// Then the events are delivered in reverse order.
    Reorder { count: usize, within_ms: u64 },
}

/// The combined effects of all faults on one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventEffects {
    pub is_dropped: bool,
    pub delay: Duration,
    /// How many additional deliveries to make.
    pub duplicates: u32,
    /// How many events to collect for the reordering, and for how long.
    pub reorder: Option<(usize, Duration)>,
    /// The names of the effects, for the ledger.
    pub applied: Vec<&'static str>,
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

impl EventEffects {
    fn add(&mut self, effect: &EventEffect) {
        self.applied.push(effect.name());
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

/// See [`super::Faults::apply_to_event`].
pub(super) fn apply(
    faults: &mut [Fault<OnEvents, EventEffect>],
    region: &str,
    instance_id: &str,
    detail_type: &str,
    state: Option<&str>,
) -> EventEffects {
    let mut effects = EventEffects::default();
    for fault in faults {
        let on = &fault.on;
        let applies = !fault.has_ended()
            && matches(on.region.as_deref(), region)
            && matches(on.instance_id.as_deref(), instance_id)
            && matches(on.detail_type.as_deref(), detail_type)
            && (on.state.is_none() || on.state.as_deref() == state);
        if applies && !effects.applied.contains(&fault.effect.name()) {
            fault.count_application();
            effects.add(&fault.effect);
        }
    }
    effects
}
