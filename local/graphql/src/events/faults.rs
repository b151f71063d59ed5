//! What happens to events on demand, as set by `PUT /faults`.
//!
//! A `PUT` replaces all faults; `{}` ends them. `GET` answers with what is left of
//! them. An event has one fault at most, on its first way to the webhook: that of
//! the first rule which takes it. Retries are left alone.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

const MAX_RULES: usize = 20;
const MAX_COPIES: u32 = 10;
const MAX_WINDOW: usize = 100;
const MAX_MS: u64 = 10 * 60 * 1000;

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Faults {
    /// The same seed, rules and number of events give the same choice of events.
    seed: u64,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    action: Action,
    /// Events of this trigger only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trigger: Option<String>,
    /// So many events at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<u32>,
    /// Of the events, so many: 0.25 for one in four, chosen by the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
    /// How many events this rule was asked about.
    #[serde(skip)]
    seen: u64,
}

/// What is done to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Action {
    /// Never sent, and taken for delivered.
    Drop,
    /// Sent after this time.
    Delay { ms: u64 },
    /// Sent once, and so many times more: at the same time, or `after_ms` later.
    Duplicate {
        copies: u32,
        #[serde(default)]
        after_ms: u64,
    },
    /// Kept until there are `window` of them, or `within_ms` have passed since the
    /// first; then sent one after the other, the last one first.
    Reorder { window: usize, within_ms: u64 },
}

impl Faults {
    /// # Errors
    /// When a number is outside of its bounds, which the message gives.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.rules.len() <= MAX_RULES, "at most {MAX_RULES} rules");
        for rule in &self.rules {
            ensure!(
                rule.share.is_none_or(|share| (0.0..=1.0).contains(&share)),
                "share: from 0 to 1"
            );
            let times = match rule.action {
                Action::Drop => 0,
                Action::Delay { ms } => ms,
                Action::Duplicate { copies, after_ms } => {
                    ensure!(
                        (1..=MAX_COPIES).contains(&copies),
                        "copies: from 1 to {MAX_COPIES}"
                    );
                    after_ms
                }
                Action::Reorder { window, within_ms } => {
                    ensure!(
                        (2..=MAX_WINDOW).contains(&window),
                        "window: from 2 to {MAX_WINDOW}"
                    );
                    within_ms
                }
            };
            ensure!(times <= MAX_MS, "a time is at most {MAX_MS} ms");
        }
        Ok(())
    }

    /// What is done to the next event of `trigger`, if anything.
    pub(crate) fn strike(&mut self, trigger: &str) -> Option<Action> {
        let seed = self.seed;
        let hit = self.rules.iter_mut().zip(1..).find_map(|(rule, number)| {
            rule.takes(trigger, mix(seed ^ mix(number))).then_some(rule)
        })?;
        hit.next = hit.next.map(|left| left - 1);
        Some(hit.action)
    }
}

impl Rule {
    fn takes(&mut self, trigger: &str, seed: u64) -> bool {
        let applies = self.trigger.as_deref().is_none_or(|name| name == trigger);
        if !applies || self.next == Some(0) {
            return false;
        }
        self.seen += 1;
        self.share
            .is_none_or(|share| unit(mix(seed.wrapping_add(self.seen))) < share)
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): neighbouring numbers
/// come out unrelated.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// From 0 up to but without 1.
fn unit(number: u64) -> f64 {
    f64::from((number >> 32) as u32) / (f64::from(u32::MAX) + 1.0)
}

/// A time as the rules give it.
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
    fn a_rule_takes_the_next_events_of_its_trigger_and_then_the_rule_after_it() {
        let mut faults = faults(json!({"rules": [
            {"action": "drop", "trigger": "a", "next": 1},
            {"action": {"delay": {"ms": 5}}, "next": 2},
        ]}))
        .unwrap();
        let delay = Some(Action::Delay { ms: 5 });
        assert_eq!(faults.strike("b"), delay);
        assert_eq!(faults.strike("a"), Some(Action::Drop));
        assert_eq!(faults.strike("a"), delay);
        assert_eq!(faults.strike("a"), None);
        let left = serde_json::to_value(&faults).unwrap();
        assert_eq!(left["rules"][0]["next"], 0);
    }

    #[test]
    fn a_share_is_about_right_and_the_same_for_the_same_seed() {
        let struck = |seed: u64| -> Vec<bool> {
            let rules = json!({"seed": seed, "rules": [{"action": "drop", "share": 0.25}]});
            let mut faults = faults(rules).unwrap();
            (0..1000).map(|_| faults.strike("a").is_some()).collect()
        };
        let count = struck(7).into_iter().filter(|struck| *struck).count();
        assert!((200..300).contains(&count), "{count}");
        assert_eq!(struck(7), struck(7));
        assert_ne!(struck(7), struck(8));
    }

    #[test]
    fn a_number_out_of_bounds_or_an_unknown_word_is_refused() {
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
