//! Faults that tests inject into the delivery with `PUT /faults`.
//!
//! A `PUT` replaces all faults, and `{}` removes them. `GET` returns them with the
//! remaining counts. A fault applies only to the first attempt of an event, never to
//! retries. The first rule that matches the event determines the fault.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

// Generous for any test. They only prevent mistakes from exhausting memory or time.
const MAX_RULES: usize = 20;
const MAX_COPIES: u32 = 10;
const MAX_WINDOW: usize = 100;
const MAX_MS: u64 = 10 * 60 * 1000;

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Faults {
    /// The same seed, rules and number of events affect the same events.
    seed: u64,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    action: Action,
    /// Limits the rule to events of this trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trigger: Option<String>,
    /// Maximum number of events that the rule still affects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<u32>,
    /// Share of the events that the rule affects, from 0 to 1. The seed determines which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
    /// Number of events that were checked against `share`.
    #[serde(skip)]
    seen: u64,
}

/// What a fault does with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Action {
    /// The event is never sent.
    Drop,
    /// The event is sent after this time.
    Delay { ms: u64 },
    /// The event is sent once, and `copies` more times after `after_ms`.
    Duplicate {
        copies: u32,
        #[serde(default)]
        after_ms: u64,
    },
    /// Events are held back until there are `window` of them, or until `within_ms` after
    /// the first. They are then sent one after the other, last first.
    Reorder { window: usize, within_ms: u64 },
}

impl Faults {
    /// # Errors
    ///
    /// Names the rule and the field that is out of range, and the range.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(
            self.rules.len() <= MAX_RULES,
            "rules: at most {MAX_RULES} are allowed"
        );
        for (index, rule) in self.rules.iter().enumerate() {
            ensure!(
                rule.share.is_none_or(|share| (0.0..=1.0).contains(&share)),
                "rules[{index}]: share must be from 0 to 1"
            );
            let (field, time) = match rule.action {
                Action::Drop => continue,
                Action::Delay { ms } => ("ms", ms),
                Action::Duplicate { copies, after_ms } => {
                    ensure!(
                        (1..=MAX_COPIES).contains(&copies),
                        "rules[{index}]: copies must be from 1 to {MAX_COPIES}"
                    );
                    ("after_ms", after_ms)
                }
                Action::Reorder { window, within_ms } => {
                    ensure!(
                        (2..=MAX_WINDOW).contains(&window),
                        "rules[{index}]: window must be from 2 to {MAX_WINDOW}"
                    );
                    ("within_ms", within_ms)
                }
            };
            ensure!(
                time <= MAX_MS,
                "rules[{index}]: {field} must be at most {MAX_MS}"
            );
        }
        Ok(())
    }

    /// Chooses the fault for the next event of `trigger`, if any, and counts it against
    /// the rule's `next`.
    pub(crate) fn choose_action(&mut self, trigger: &str) -> Option<Action> {
        let seed = self.seed;
        let matching = self.rules.iter_mut().zip(1..).find_map(|(rule, number)| {
            rule.matches_next(trigger, mix(seed ^ mix(number)))
                .then_some(rule)
        })?;
        matching.next = matching.next.map(|remaining| remaining - 1);
        Some(matching.action)
    }
}

impl Rule {
    /// Whether the rule affects the next event of `trigger`. Counts the event as checked.
    fn matches_next(&mut self, trigger: &str, seed: u64) -> bool {
        let applies = self.trigger.as_deref().is_none_or(|name| name == trigger);
        if !applies || self.next == Some(0) {
            return false;
        }
        self.seen += 1;
        self.share
            .is_none_or(|share| unit_interval(mix(seed.wrapping_add(self.seen))) < share)
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014). Results of adjacent
/// numbers are uncorrelated.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Maps a number to [0, 1).
fn unit_interval(number: u64) -> f64 {
    f64::from((number >> 32) as u32) / (f64::from(u32::MAX) + 1.0)
}

/// A time in a rule as a [`Duration`].
pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn faults(value: Value) -> Result<Faults> {
        let faults: Faults = serde_json::from_value(value)?;
        faults.check()?;
        Ok(faults)
    }

    #[test]
    fn rule_affects_the_next_events_of_its_trigger_until_exhausted() {
        let mut faults = faults(json!({"rules": [
            {"action": "drop", "trigger": "a", "next": 1},
            {"action": {"delay": {"ms": 5}}, "next": 2},
        ]}))
        .unwrap();
        let delay = Some(Action::Delay { ms: 5 });
        assert_eq!(faults.choose_action("b"), delay);
        assert_eq!(faults.choose_action("a"), Some(Action::Drop));
        assert_eq!(faults.choose_action("a"), delay);
        assert_eq!(faults.choose_action("a"), None);
        let remaining = serde_json::to_value(&faults).unwrap();
        assert_eq!(remaining["rules"][0]["next"], 0);
    }

    #[test]
    fn share_is_approximate_and_reproducible_by_seed() {
        let affected = |seed: u64| -> Vec<bool> {
            let rules = json!({"seed": seed, "rules": [{"action": "drop", "share": 0.25}]});
            let mut faults = faults(rules).unwrap();
            (0..1000)
                .map(|_| faults.choose_action("a").is_some())
                .collect()
        };
        let count = affected(7).into_iter().filter(|affected| *affected).count();
        assert!((200..300).contains(&count), "{count}");
        assert_eq!(affected(7), affected(7));
        assert_ne!(affected(7), affected(8));
    }

    #[test]
    fn number_out_of_range_or_unknown_key_is_rejected() {
        for rule in [
            json!({"action": "drop", "share": 1.5}),
            json!({"action": {"delay": {"ms": 86_400_000}}}),
            json!({"action": {"duplicate": {"copies": 0}}}),
            json!({"action": {"duplicate": {"copies": 1, "later": 5}}}),
            json!({"action": {"reorder": {"window": 1, "within_ms": 10}}}),
            json!({"action": "lose"}),
            json!({"action": "drop", "nxt": 1}),
        ] {
            assert!(faults(json!({"rules": [rule]})).is_err(), "{rule}");
        }
        assert!(faults(json!({})).is_ok());
    }
}
