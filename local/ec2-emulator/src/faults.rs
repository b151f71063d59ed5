//! Fault injection, as set by `PUT /_emulator/faults`.
//!
//! A `PUT` replaces all faults, so `{}` clears them. `GET` returns what is left of them in the
//! same form. The crate's documentation describes the form.

mod calls;
mod capacity;
mod errors;
mod events;
mod fault;
mod instances;
mod throttling;

use serde::{Deserialize, Serialize};

pub use calls::{CallEffect, CallEffects, OmittedInstances, OnCalls};
pub use capacity::{CapacityLimit, NotOffered, Pool};
pub use errors::ErrorCode;
pub use events::{EventEffect, EventEffects, OnEvents};
pub use fault::Fault;
pub(crate) use instances::AppliesFrom;
pub use instances::{InstanceEffect, InterruptAction, OnInstances};
pub use throttling::{Bucket, Throttling};

use crate::clock::UnixMillis;
use crate::params::Params;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Limits on what can be launched. A launch must fit under every limit that applies to it.
    pub capacity: Vec<CapacityLimit>,
    /// Instance types that zones do not offer, in addition to those in the world file.
    pub not_offered: Vec<NotOffered>,
    /// Limits on the rate of requests. If absent, the rate is not limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttling: Option<Throttling>,
    pub calls: Vec<Fault<OnCalls, CallEffect>>,
    pub instances: Vec<Fault<OnInstances, InstanceEffect>>,
    pub events: Vec<Fault<OnEvents, EventEffect>>,
    /// When the remaining durations and tokens were last updated.
    #[serde(skip)]
    as_of: UnixMillis,
}

impl Faults {
    /// Starts the durations of the faults at `now`.
    ///
    /// # Errors
    /// If a field has an invalid value; the message names it.
    pub fn started_at(mut self, now: UnixMillis) -> Result<Self, String> {
        if let Some(throttling) = &self.throttling {
            throttling.check()?;
        }
        self.as_of = now;
        Ok(self)
    }

    /// Drops the faults that end by `now`, and refills the throttling buckets.
    pub fn advance(&mut self, now: UnixMillis) {
        let time = now - self.as_of;
        self.as_of = self.as_of.max(now);
        if let Some(throttling) = &mut self.throttling {
            throttling.advance(time);
        }
        self.throttling = self.throttling.take().filter(|it| it.for_ms != Some(0));
        fault::elapse_all(&mut self.calls, time);
        fault::elapse_all(&mut self.instances, time);
        fault::elapse_all(&mut self.events, time);
    }

    /// Determines the effects on a call, and counts an application of each fault that has one.
    ///
    /// Of each kind of effect, the first matching fault applies. An outage excludes all others.
    pub fn apply_to_call(&mut self, region: &str, action: &str, params: &Params) -> CallEffects {
        calls::apply(&mut self.calls, region, action, params)
    }

    /// Whether a zone does not offer an instance type.
    pub fn excludes(&self, region: &str, instance_type: &str, zone: &str) -> bool {
        let mut faults = self.not_offered.iter();
        faults.any(|fault| fault.applies_to(region, instance_type, zone))
    }

    /// How many more instances can be launched in a pool; `None` if nothing limits it.
    pub fn capacity_left(&self, pool: Pool<'_>) -> Option<u32> {
        capacity::left(&self.capacity, pool)
    }

    /// Subtracts launched instances from every limit that applies to the pool.
    pub fn use_capacity(&mut self, pool: Pool<'_>, count: u32) {
        capacity::subtract(&mut self.capacity, pool, count);
    }

    /// Determines the effects on an event, and counts an application of each fault that has one.
    ///
    /// Of each kind of effect, the first matching fault applies. `state` is the new state of a
    /// state change.
    pub(crate) fn apply_to_event(
        &mut self,
        region: &str,
        instance_id: &str,
        detail_type: &str,
        state: Option<&str>,
    ) -> EventEffects {
        events::apply(&mut self.events, region, instance_id, detail_type, state)
    }

    /// Determines the effects on an instance that is launched or starts to run at `now`, and counts
    /// an application of each fault that has one.
    pub(crate) fn apply_to_instance(
        &mut self,
        pool: Pool<'_>,
        id: &str,
        from: AppliesFrom,
        now: UnixMillis,
    ) -> Vec<InstanceEffect> {
        self.advance(now);
        instances::apply_to(&mut self.instances, pool, id, from)
    }

    /// As [`Faults::apply_to_instance`], for an instance that is launched or runs already. Only
    /// faults that name the instance apply.
    pub(crate) fn apply_to_named_instance(
        &mut self,
        pool: Pool<'_>,
        id: &str,
        is_running: bool,
    ) -> Vec<InstanceEffect> {
        instances::apply_to_named(&mut self.instances, pool, id, is_running)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(value: serde_json::Value) -> Faults {
        let faults: Faults = serde_json::from_value(value).unwrap();
        faults.started_at(UnixMillis(0)).unwrap()
    }

    #[test]
    fn unknown_field_or_effect_is_named_in_error() {
        for wrong in [
            json!({"capcity": []}),
            json!({"calls": [{"efect": "lost"}]}),
            json!({"calls": [{"effect": "capcity"}]}),
            json!({"calls": [{"effect": {"error": "capcity"}}]}),
            json!({"not_offered": [{"capcity": "g5.xlarge"}]}),
            json!({"instances": [{"effect": {"launch_fails": {"reason": "capcity"}}}]}),
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
    fn remaining_faults_shrink_with_time_and_parse_again() {
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
                "not_offered": [],
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
