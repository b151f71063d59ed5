//! Wakes: none is lost, and none waits for the schedule without need.

use std::collections::BTreeMap;

use shared::ids::RegionName;

use super::context::StepContext;
use super::rule::{Check, Violation};
use crate::effects::Effect;
use crate::faults::Fault;
use crate::hasura_events::DatabaseEvent;
use crate::world::World;
use crate::yield_points::ProcessId;

#[derive(Debug, Default)]
pub(super) struct Wakes {
    moment: u64,
    /// When each region was last marked or observed.
    woken: BTreeMap<RegionName, u64>,
    /// When each region was marked, if it was not observed since.
    unobserved: BTreeMap<RegionName, u64>,
    /// When each region was last marked.
    marked: BTreeMap<RegionName, u64>,
    /// When each process last observed a region.
    observed: BTreeMap<(ProcessId, RegionName), u64>,
    /// The latest observation of each region whose decision was recorded.
    acted_on: BTreeMap<RegionName, u64>,
    /// When each event was created.
    events: BTreeMap<String, u64>,
    /// A fault has happened since the system was last idle, so that a wake may have to wait for the
    /// schedule.
    disturbed: bool,
}

impl Wakes {
    pub(super) fn check_effect(
        &mut self,
        context: &StepContext<'_>,
        process: ProcessId,
        effect: &Effect,
        found: &mut Vec<Violation>,
    ) {
        self.moment += 1;
        self.disturbed |= context.late_request;
        match effect {
            Effect::WakeMarkSet(region) => {
                self.woken.insert(region.clone(), self.moment);
                self.unobserved.insert(region.clone(), self.moment);
                self.marked.insert(region.clone(), self.moment);
            }
            Effect::WakeMarkCleared(region) => self.check_cleared(context, region, found),
            Effect::DecisionRecorded(lease) => {
                let key = (process, lease.region.clone());
                let observation = self.observed.get(&key).copied().unwrap_or(0);
                let latest = self.acted_on.entry(lease.region.clone()).or_default();
                *latest = observation.max(*latest);
            }
            // A late request observes nothing: nobody reads its answer.
            Effect::PassBegan { fence, .. } if !context.late_request => {
                let key = (process, fence.region.clone());
                self.observed.insert(key, self.moment);
                self.woken.insert(fence.region.clone(), self.moment);
                self.unobserved.remove(&fence.region);
            }
            _ => {}
        }
    }

    /// Checks that a mark is cleared only after an observation that is newer than the mark was
    /// acted on, even if processes die.
    fn check_cleared(
        &self,
        context: &StepContext<'_>,
        region: &RegionName,
        found: &mut Vec<Violation>,
    ) {
        let marked = self.marked.get(region).copied().unwrap_or(0);
        let acted_on = self.acted_on.get(region).copied().unwrap_or(0);
        let is_gone = context.world.store.items().of(region).wake_mark.is_none();
        if is_gone && acted_on < marked {
            let text = format!("the wake mark of {region} was cleared before a pass acted on it");
            found.push(Violation::new(Check::WakeNotLost, text));
        }
    }

    pub(super) fn note_fault(&mut self, fault: Fault) {
        // Clock skew within the margin must not delay a wake.
        self.disturbed |= fault != Fault::ClockSkew;
    }

    pub(super) fn note_event_created(&mut self, event: &str) {
        self.moment += 1;
        self.events.insert(event.to_owned(), self.moment);
    }

    pub(super) fn check_event_accepted(
        &mut self,
        event: &DatabaseEvent,
        found: &mut Vec<Violation>,
    ) {
        let made = self.events.get(&event.id).copied().unwrap_or(0);
        for region in &event.regions {
            let woken = self.woken.get(region).copied().unwrap_or(0);
            if woken < made {
                let text = format!(
                    "{} was accepted, but {region} was neither marked nor observed since",
                    event.id
                );
                found.push(Violation::new(Check::WakeBeforeEventSeen, text));
            }
        }
    }

    pub(super) fn check_idle(&mut self, world: &World, found: &mut Vec<Violation>) {
        let now = world.now().as_millisecond();
        let mut items = world.store.items();
        let marked: Vec<_> = items
            .regions
            .iter_mut()
            .filter(|(_, items)| items.wake_mark.is_some())
            .map(|(region, _)| region.clone())
            .collect();
        let is_held = |held: &testing::Held| held.expires_at > now - WIDEST_MARGIN_MS;
        let locked = items
            .regions
            .values()
            .any(|i| i.lock.as_ref().is_some_and(is_held));
        drop(items);
        if !self.disturbed {
            for region in marked.iter().chain(self.unobserved.keys()) {
                let text = format!("{region} is marked or unobserved, and no function runs");
                found.push(Violation::new(Check::WakeNotLost, text));
            }
        }
        // A lock that a dead function still holds, a mark that it left and an EC2 that throttles
        // keep disturbing later wakes.
        let throttled = world
            .regions()
            .iter()
            .any(|region| world.host(region).state().throttled);
        self.disturbed &= locked || !marked.is_empty();
        self.disturbed |= throttled;
        self.unobserved.clear();
    }
}

/// A lease counts until its end by a clock that may be skewed, and for a margin after that.
const WIDEST_MARGIN_MS: i64 = 5000;
