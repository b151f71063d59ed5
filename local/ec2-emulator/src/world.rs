//! The emulated account: pure state, changed by what is asked of it and by time passing, which
//! comes in as an argument. Nothing here does I/O, waits or reads a clock.

mod file;
mod instance;
mod launch;
mod region;
mod resolve;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use file::{
    Architecture, Cidr, DEFAULT_WORLD, Image, ImageState, RegionFile, SecurityGroup, Subnet,
    WorldFile,
};
pub use instance::{
    AgentRun, EndedBy, Group, Instance, LaunchSpec, ShutdownBehavior, State, Transition,
};
pub use launch::LaunchRequest;
pub use region::{Region, View};

use crate::clock::UnixMillis;
use crate::faults::Faults;
use crate::settings::Settings;

pub type Tags = BTreeMap<String, String>;

/// How many forgotten instances the ledger can still tell about.
const ARCHIVE: usize = 10_000;

/// An instance came into a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub region: String,
    pub instance_id: String,
    pub transition: Transition,
}

#[derive(Debug)]
pub struct World {
    account_id: String,
    instance_profiles: Option<Vec<String>>,
    regions: BTreeMap<String, Region>,
    pub settings: Settings,
    pub faults: Faults,
    /// Makes the ids of this world differ from those of another one.
    seed: u64,
    next_seq: u64,
    /// Moments at which something happens by itself, with the instance that it happens to.
    upcoming: BTreeSet<(UnixMillis, String, u64)>,
    /// What happened and was not yet told to anybody.
    changes: Vec<Change>,
    forgotten: VecDeque<(String, Instance)>,
}

impl World {
    pub fn new(file: WorldFile, settings: Settings, seed: u64) -> Self {
        let regions = file
            .regions
            .into_iter()
            .map(|(name, file)| (name.clone(), Region::new(name, file)))
            .collect();
        Self {
            account_id: file.account_id,
            instance_profiles: file.instance_profiles,
            regions,
            settings,
            faults: Faults::default(),
            seed,
            next_seq: 0,
            upcoming: BTreeSet::new(),
            changes: Vec::new(),
            forgotten: VecDeque::new(),
        }
    }

    pub fn account_id(&self) -> &str {
        &self.account_id
    }

    pub fn instance_profiles(&self) -> Option<&[String]> {
        self.instance_profiles.as_deref()
    }

    pub fn region(&self, name: &str) -> Option<&Region> {
        self.regions.get(name)
    }

    pub fn region_mut(&mut self, name: &str) -> Option<&mut Region> {
        self.regions.get_mut(name)
    }

    /// Every instance there ever was, as far as the archive goes, with its region.
    pub fn all_instances(&self) -> impl Iterator<Item = (&str, &Instance)> {
        let forgotten = self
            .forgotten
            .iter()
            .map(|(region, instance)| (region.as_str(), instance));
        let known = self.regions.values().flat_map(|region| {
            region
                .instances()
                .map(move |instance| (region.name.as_str(), instance))
        });
        forgotten.chain(known)
    }

    /// The next moment at which something happens by itself.
    pub fn next_due(&self) -> Option<UnixMillis> {
        self.upcoming.first().map(|(at, _, _)| *at)
    }

    /// Lets everything happen that is due by `now`.
    pub fn advance(&mut self, now: UnixMillis) {
        while self.next_due().is_some_and(|at| at <= now) {
            let Some((_, region_name, seq)) = self.upcoming.pop_first() else {
                return;
            };
            let Some(region) = self.regions.get_mut(&region_name) else {
                continue;
            };
            let Some(instance) = region.by_seq_mut(seq) else {
                continue;
            };
            for transition in instance
                .transitions_until(now)
                .iter()
                .skip(instance.announced)
            {
                self.changes.push(Change {
                    region: region_name.clone(),
                    instance_id: instance.id.clone(),
                    transition: *transition,
                });
            }
            instance.announced = instance.transitions_until(now).len();
            if instance.forgotten_at.is_some_and(|at| at <= now)
                && let Some(instance) = region.forget(seq)
            {
                self.forgotten.push_back((region_name, instance));
                if self.forgotten.len() > ARCHIVE {
                    self.forgotten.pop_front();
                }
            }
        }
    }

    /// The changes since this was last asked.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Terminates these instances, or none of them when one is unknown. Answers with their states
    /// before and after, in the order asked.
    pub fn terminate(
        &mut self,
        region: &str,
        ids: &[String],
        now: UnixMillis,
    ) -> Result<Vec<(State, State)>, UnknownInstances> {
        let Some(known) = self.regions.get(region) else {
            return Err(UnknownInstances(ids.to_vec()));
        };
        let unknown: Vec<_> = ids
            .iter()
            .filter(|id| known.instance(id).is_none())
            .cloned()
            .collect();
        if !unknown.is_empty() {
            return Err(UnknownInstances(unknown));
        }
        let states = |world: &Self| -> Vec<Option<State>> {
            let region = world.regions.get(region);
            ids.iter()
                .map(|id| region?.instance(id)?.state_at(now))
                .collect()
        };
        let before = states(self);
        for id in ids {
            self.end_instance(region, id, EndedBy::User, now);
        }
        Ok(before
            .into_iter()
            .zip(states(self))
            .filter_map(|(a, b)| Some((a?, b?)))
            .collect())
    }

    /// An instance's own operating system shut down.
    pub fn shut_down_from_inside(&mut self, region: &str, id: &str, now: UnixMillis) {
        self.end_instance(region, id, EndedBy::Instance, now);
    }

    fn end_instance(&mut self, region_name: &str, id: &str, by: EndedBy, now: UnixMillis) {
        let ended_at = now.after(self.settings.shutting_down());
        let visible = self.settings.terminated_visible();
        let Some(region) = self.regions.get_mut(region_name) else {
            return;
        };
        let Some(instance) = region.instance_mut(id) else {
            return;
        };
        let stops =
            by == EndedBy::Instance && instance.spec.shutdown_behavior == ShutdownBehavior::Stop;
        let states = match instance.state_at(now) {
            Some(State::Pending | State::Running) if stops => [State::Stopping, State::Stopped],
            Some(State::Pending | State::Running | State::Stopping | State::Stopped)
                if by == EndedBy::User || !stops =>
            {
                [State::ShuttingDown, State::Terminated]
            }
            _ => return,
        };
        instance.end(by, states, now, ended_at);
        let seq = instance.seq;
        let mut due = vec![now, ended_at];
        if states[1] == State::Terminated {
            let forgotten_at = ended_at.after(visible);
            instance.forgotten_at = Some(forgotten_at);
            due.push(forgotten_at);
        }
        self.upcoming
            .extend(due.into_iter().map(|at| (at, region_name.to_owned(), seq)));
        self.advance(now);
    }
}

/// Ids that no instance has, or none any more.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownInstances(pub Vec<String>);
