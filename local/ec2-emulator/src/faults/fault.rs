//! One injected fault: what it applies to, its effect, and how long it lasts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A fault ends after `times` applications or after `for_ms`, whichever comes first. Without
/// either it lasts until it is replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault<On, Effect> {
    /// An absent field matches everything; so does an absent `on`.
    #[serde(default)]
    pub on: On,
    pub effect: Effect,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

impl<On, Effect> Fault<On, Effect> {
    pub(super) fn has_ended(&self) -> bool {
        self.times == Some(0) || self.for_ms == Some(0)
    }

    /// Counts one application.
    pub(super) fn count_application(&mut self) {
        if let Some(times) = &mut self.times {
            *times = times.saturating_sub(1);
        }
    }
}

/// Subtracts the passed time from each fault's `for_ms`, and drops the faults that have ended.
pub(super) fn elapse_all<On, Effect>(faults: &mut Vec<Fault<On, Effect>>, time: Duration) {
    for fault in faults.iter_mut() {
        elapse(&mut fault.for_ms, time);
    }
    faults.retain(|fault| !fault.has_ended());
}

/// Subtracts the passed time from a remaining duration.
pub(super) fn elapse(for_ms: &mut Option<u64>, time: Duration) {
    if let Some(left) = for_ms {
        *left = left.saturating_sub(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }
}

/// Whether a field of a fault's `on` matches a value.
pub(super) fn matches(expected: Option<&str>, value: &str) -> bool {
    expected.is_none_or(|expected| expected == value)
}
