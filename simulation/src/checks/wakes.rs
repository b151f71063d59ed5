//! Wakes: none is lost, and none waits without need.

use std::collections::BTreeMap;

use shared::ids::RegionName;

use super::{Check, Scene, Violation};
use crate::events::DatabaseEvent;
use crate::facts::Fact;
use crate::faults::Fault;
use crate::gate::ProcessId;
use crate::world::World;

#[derive(Debug, Default)]
pub(super) struct Wakes {
    moment: u64,
    /// When each region was last marked or looked at.
    woken: BTreeMap<RegionName, u64>,
    /// Marked, and not looked at since.
    unseen: BTreeMap<RegionName, u64>,
    /// When each region was last marked.
    marked: BTreeMap<RegionName, u64>,
    /// When each process last looked at a region.
    looked: BTreeMap<(ProcessId, RegionName), u64>,
    /// The latest look at each region that was acted on: its decision is recorded.
    acted_on: BTreeMap<RegionName, u64>,
    /// When each event was made.
    events: BTreeMap<String, u64>,
    /// Since all was quiet, something went wrong: a wake may have to wait for the schedule.
    troubled: bool,
}

impl Wakes {
    pub(super) fn fact(
        &mut self,
        scene: &Scene<'_>,
        process: ProcessId,
        fact: &Fact,
        found: &mut Vec<Violation>,
    ) {
        self.moment += 1;
        self.troubled |= scene.straggler;
        match fact {
            Fact::Marked(region) => {
                self.woken.insert(region.clone(), self.moment);
                self.unseen.insert(region.clone(), self.moment);
                self.marked.insert(region.clone(), self.moment);
            }
            Fact::Cleared(region) => self.cleared(scene, region, found),
            Fact::Decided(lease) => {
                let key = (process, lease.region.clone());
                let look = self.looked.get(&key).copied().unwrap_or(0);
                let latest = self.acted_on.entry(lease.region.clone()).or_default();
                *latest = look.max(*latest);
            }
            // What nobody waits for any more shows nobody anything.
            Fact::Began { fence } if !scene.straggler => {
                let key = (process, fence.region.clone());
                self.looked.insert(key, self.moment);
                self.woken.insert(fence.region.clone(), self.moment);
                self.unseen.remove(&fence.region);
            }
            _ => {}
        }
    }

    /// A mark goes only when a look that came after it has been acted on, whoever dies when.
    fn cleared(&self, scene: &Scene<'_>, region: &RegionName, found: &mut Vec<Violation>) {
        let marked = self.marked.get(region).copied().unwrap_or(0);
        let acted_on = self.acted_on.get(region).copied().unwrap_or(0);
        let is_gone = scene.world.store.items().of(region).wake_mark.is_none();
        if is_gone && acted_on < marked {
            let text = format!("the mark of {region} was cleared, and nobody has acted on it");
            found.push(Violation::new(Check::WakeNotLost, text));
        }
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        // A clock that is a little off must make no difference.
        self.troubled |= fault != Fault::ClockSkew;
    }

    pub(super) fn made(&mut self, event: &str) {
        self.moment += 1;
        self.events.insert(event.to_owned(), self.moment);
    }

    pub(super) fn taken(&mut self, event: &DatabaseEvent, found: &mut Vec<Violation>) {
        let made = self.events.get(&event.id).copied().unwrap_or(0);
        for region in &event.regions {
            let woken = self.woken.get(region).copied().unwrap_or(0);
            if woken < made {
                let text = format!("{} was taken, and {region} was not woken since", event.id);
                found.push(Violation::new(Check::WakeBeforeSeen, text));
            }
        }
    }

    pub(super) fn quiet(&mut self, world: &World, found: &mut Vec<Violation>) {
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
        if !self.troubled {
            for region in marked.iter().chain(self.unseen.keys()) {
                let text = format!("{region} is wanted, and nobody is there to look");
                found.push(Violation::new(Check::WakeNotLost, text));
            }
        }
        // A lock that a dead function still holds, a mark that it left, an EC2 that answers
        // nobody: that is trouble yet.
        let throttled = world
            .regions()
            .iter()
            .any(|region| world.host(region).state().throttled);
        self.troubled &= locked || !marked.is_empty();
        self.troubled |= throttled;
        self.unseen.clear();
    }
}

/// A lease counts until its end, by a clock that may be off, and a margin.
const WIDEST_MARGIN_MS: i64 = 5000;
