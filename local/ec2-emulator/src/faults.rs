//! What goes wrong on demand, as set by `PUT /_emulator/faults`.
//!
//! A `PUT` replaces all faults; `{}` heals the world. `GET` answers with what is left of them, in
//! the same form. The crate's documentation shows all of them.

mod calls;
mod capacity;
mod events;
mod instances;
mod throttling;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use calls::{CallEffect, CallFate, ErrorCode, Hidden, OnCalls};
pub use capacity::{CapacityLimit, Pool};
pub use events::{EventEffect, EventFate, OnEvents};
pub use instances::{InstanceEffect, InterruptAction, OnInstances};
pub use throttling::{Bucket, Throttling};

use crate::clock::UnixMillis;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Limits to what can be launched. A launch must fit under every limit that applies to it.
    pub capacity: Vec<CapacityLimit>,
    /// EC2's limits on the rate of requests; none when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttling: Option<Throttling>,
    pub calls: Vec<Fault<OnCalls, CallEffect>>,
    pub instances: Vec<Fault<OnInstances, InstanceEffect>>,
    pub events: Vec<Fault<OnEvents, EventEffect>>,
    /// The moment at which this was what is left.
    #[serde(skip)]
    as_of: UnixMillis,
}

/// What goes wrong, with what, and for how long: `times` times, for `for_ms`, whichever is over
/// first; until it is healed when neither is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault<On, Effect> {
    /// Everything when it is left out, as does each of its fields.
    #[serde(default)]
    pub on: On,
    pub effect: Effect,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

impl<On, Effect> Fault<On, Effect> {
    fn is_over(&self) -> bool {
        self.times == Some(0) || self.for_ms == Some(0)
    }

    /// Uses it up by one time.
    fn strike(&mut self) {
        if let Some(times) = &mut self.times {
            *times = times.saturating_sub(1);
        }
    }

    fn elapse(&mut self, time: Duration) {
        elapse(&mut self.for_ms, time);
    }
}

impl Faults {
    /// Begins to count at `now`. The error says which field is wrong.
    pub fn begin(mut self, now: UnixMillis) -> Result<Self, String> {
        if let Some(throttling) = &mut self.throttling {
            throttling.begin()?;
        }
        self.as_of = now;
        Ok(self)
    }

    /// Lets time pass: drops what is over, and refills the buckets.
    pub fn advance(&mut self, now: UnixMillis) {
        let time = now - self.as_of;
        self.as_of = self.as_of.max(now);
        if let Some(throttling) = &mut self.throttling {
            throttling.advance(time);
        }
        self.throttling = self.throttling.take().filter(|it| it.for_ms != Some(0));
        prune(&mut self.calls, time);
        prune(&mut self.instances, time);
        prune(&mut self.events, time);
    }
}

fn prune<On, Effect>(faults: &mut Vec<Fault<On, Effect>>, time: Duration) {
    for fault in faults.iter_mut() {
        fault.elapse(time);
    }
    faults.retain(|fault| !fault.is_over());
}

fn elapse(for_ms: &mut Option<u64>, time: Duration) {
    if let Some(left) = for_ms {
        *left = left.saturating_sub(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }
}

/// Whether a field of a fault's `on` fits a value.
fn fits(wanted: Option<&str>, value: &str) -> bool {
    wanted.is_none_or(|wanted| wanted == value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(value: serde_json::Value) -> Faults {
        let faults: Faults = serde_json::from_value(value).unwrap();
        faults.begin(UnixMillis(0)).unwrap()
    }

    #[test]
    fn an_unknown_fault_is_named() {
        for wrong in [
            json!({"capcity": []}),
            json!({"calls": [{"efect": "lost"}]}),
            json!({"calls": [{"effect": "capcity"}]}),
            json!({"instances": [{"effect": {"interrupt": {"capcity": 1}}}]}),
        ] {
            let error = serde_json::from_value::<Faults>(wrong.clone()).unwrap_err();
            let named = ["capcity", "efect"]
                .iter()
                .any(|it| error.to_string().contains(it));
            assert!(named, "{wrong}: {error}");
        }
    }

    #[test]
    fn what_is_left_gets_less_with_time_and_can_be_put_again() {
        let mut faults = faults(json!({
            "throttling": {"for_ms": 3000},
            "calls": [{"effect": "lost", "for_ms": 1000}, {"effect": "outage", "for_ms": 2000}],
            "events": [{"effect": "drop", "times": 0}],
        }));
        faults.advance(UnixMillis(1000));
        let left = serde_json::to_value(&faults).unwrap();
        assert_eq!(
            left,
            json!({
                "capacity": [],
                "throttling": {"burst": 1.0, "refill": 1.0, "for_ms": 2000, "buckets": []},
                "calls": [{"on": {}, "effect": "outage", "for_ms": 1000}],
                "instances": [],
                "events": [],
            })
        );
        assert!(serde_json::from_value::<Faults>(left).is_ok());
        faults.advance(UnixMillis(3000));
        assert!(faults.throttling.is_none() && faults.calls.is_empty());
    }
}
