//! The emulated account: pure state, changed by what is asked of it and by time passing, which
//! comes in as an argument. Nothing here does I/O, waits or reads a clock.

mod address;
mod file;
mod instance;
mod launch;
mod metadata;
mod region;
mod resolve;
mod time;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use address::{Address, Associated, Association, Disassociated};
pub use file::{
    AddressFile, Architecture, Cidr, DEFAULT_WORLD, Image, ImageState, RegionFile, SecurityGroup,
    Subnet, WorldFile,
};
pub use instance::{
    AgentRun, EndedBy, Group, Instance, Interruption, LaunchSpec, Market, ShutdownBehavior, State,
    Strike, Transition,
};
pub use launch::LaunchRequest;
pub use metadata::{HttpTokens, MetadataOptions, Switch};
pub use region::{Region, View};
use time::End;

use crate::clock::UnixMillis;
use crate::faults::{Faults, InterruptAction};
use crate::settings::Settings;

pub type Tags = BTreeMap<String, String>;

/// How many forgotten instances the ledger can still tell about.
const ARCHIVE: usize = 10_000;

/// Something happened to an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub region: String,
    pub instance_id: String,
    pub at: UnixMillis,
    pub what: Happening,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// It came into this state.
    Is(State),
    AgentDies,
    /// EC2 warns that it takes the instance back.
    InterruptionWarning(InterruptAction),
    RebalanceRecommendation,
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

    /// Every Elastic IP there ever was, with its region.
    pub fn all_addresses(&self) -> impl Iterator<Item = (&str, &Address)> {
        self.regions.values().flat_map(|region| {
            let addresses = region.addresses.iter();
            addresses.map(|address| (region.name.as_str(), address))
        })
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
            self.end_instance(region, id, EndedBy::User, End::Termination, now);
        }
        Ok(before
            .into_iter()
            .zip(states(self))
            .filter_map(|(a, b)| Some((a?, b?)))
            .collect())
    }
}

/// Ids that no instance has, or none any more.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownInstances(pub Vec<String>);
