//! The state of the emulated account. Other modules add the operations on it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::address::Address;
use super::change::Change;
use super::file::WorldFile;
use super::instance::Instance;
use super::region::Region;
use crate::clock::UnixMillis;
use crate::faults::Faults;
use crate::settings::Settings;

/// How many instances the ledger can report after EC2 no longer knows their ids.
const ARCHIVE_SIZE: usize = 10_000;

#[derive(Debug)]
pub struct World {
    pub(super) account_id: String,
    instance_profiles: Option<Vec<String>>,
    pub(super) regions: BTreeMap<String, Region>,
    pub settings: Settings,
    pub faults: Faults,
    /// Makes the ids of this world differ from those of another one.
    pub(super) seed: u64,
    pub(super) next_seq: u64,
    /// When an instance changes without a request: the time, its region and its `seq`.
    pub(super) upcoming: BTreeSet<(UnixMillis, String, u64)>,
    /// Changes that [`World::take_changes`] has not returned yet.
    pub(super) changes: Vec<Change>,
    /// Instances whose ids EC2 no longer knows, each with its region; the oldest first.
    archive: VecDeque<(String, Instance)>,
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
            archive: VecDeque::new(),
        }
    }

    pub fn account_id(&self) -> &str {
        &self.account_id
    }

    /// The names of the instance profiles; `None` if every name is accepted.
    pub fn instance_profiles(&self) -> Option<&[String]> {
        self.instance_profiles.as_deref()
    }

    pub fn region(&self, name: &str) -> Option<&Region> {
        self.regions.get(name)
    }

    pub fn region_names(&self) -> Vec<String> {
        self.regions.keys().cloned().collect()
    }

    pub fn region_mut(&mut self, name: &str) -> Option<&mut Region> {
        self.regions.get_mut(name)
    }

    /// Every instance with its region, including those in the archive.
    pub fn all_instances(&self) -> impl Iterator<Item = (&str, &Instance)> {
        let archived = self
            .archive
            .iter()
            .map(|(region, instance)| (region.as_str(), instance));
        let known = self.regions.values().flat_map(|region| {
            region
                .instances()
                .map(move |instance| (region.name.as_str(), instance))
        });
        archived.chain(known)
    }

    /// Every Elastic IP with its region, including released ones.
    pub fn all_addresses(&self) -> impl Iterator<Item = (&str, &Address)> {
        self.regions.values().flat_map(|region| {
            let addresses = region.addresses.iter();
            addresses.map(|address| (region.name.as_str(), address))
        })
    }

    /// Returns the changes since the previous call, and clears them.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Keeps an instance whose id EC2 no longer knows, for the ledger.
    pub(super) fn archive(&mut self, region: String, instance: Instance) {
        self.archive.push_back((region, instance));
        if self.archive.len() > ARCHIVE_SIZE {
            self.archive.pop_front();
        }
    }

    pub(super) fn instance_by_seq(&mut self, region: &str, seq: u64) -> Option<&mut Instance> {
        self.regions.get_mut(region)?.by_seq_mut(seq)
    }
}
