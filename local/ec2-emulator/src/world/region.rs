//! What there is in one region.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Ipv4Addr;

use super::{Address, Image, Instance, RegionFile, SecurityGroup, State, Subnet};
use crate::clock::UnixMillis;

#[derive(Debug)]
pub struct Region {
    pub name: String,
    pub subnets: Vec<Subnet>,
    pub security_groups: Vec<SecurityGroup>,
    pub images: Vec<Image>,
    pub(super) addresses: Vec<Address>,
    instances: BTreeMap<u64, Instance>,
    seq_by_id: HashMap<String, u64>,
    pub(super) tokens: HashMap<TokenKey, Binding>,
}

/// A client token holds for a zone when the request names a subnet, else for the region.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TokenKey {
    pub(super) token: String,
    pub(super) zone: Option<String>,
}

/// What a client token stands for. It is kept for as long as the emulator runs: EC2 promises no
/// end to it.
#[derive(Debug)]
pub(super) struct Binding {
    /// Of all parameters of the first request.
    pub(super) fingerprint: u64,
    /// Empty while no request under the token launched anything.
    pub(super) instance_ids: Vec<String>,
}

/// An instance as a Describe* request sees it, which is how it was some time ago.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub instance: &'a Instance,
    pub state: State,
    pub as_of: UnixMillis,
    /// The Elastic IP that it has in place of its own.
    pub elastic_ip: Option<Ipv4Addr>,
}

impl Region {
    pub(super) fn new(name: String, file: RegionFile) -> Self {
        Self {
            name,
            subnets: file.subnets,
            security_groups: file.security_groups,
            images: file.images,
            addresses: file.addresses.into_iter().map(Address::from).collect(),
            instances: BTreeMap::new(),
            seq_by_id: HashMap::new(),
            tokens: HashMap::new(),
        }
    }

    pub fn subnet(&self, id: &str) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.id == id)
    }

    pub fn security_group(&self, id: &str) -> Option<&SecurityGroup> {
        self.security_groups.iter().find(|group| group.id == id)
    }

    pub fn image(&self, id: &str) -> Option<&Image> {
        self.images.iter().find(|image| image.id == id)
    }

    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    pub fn address(&self, allocation_id: &str) -> Option<&Address> {
        let mut addresses = self.addresses.iter();
        addresses.find(|address| address.allocation_id == allocation_id)
    }

    /// In order of their launches.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values()
    }

    pub(super) fn instances_mut(&mut self) -> impl Iterator<Item = &mut Instance> {
        self.instances.values_mut()
    }

    pub fn instance(&self, id: &str) -> Option<&Instance> {
        self.instances.get(self.seq_by_id.get(id)?)
    }

    pub fn instance_mut(&mut self, id: &str) -> Option<&mut Instance> {
        self.instances.get_mut(self.seq_by_id.get(id)?)
    }

    /// The instances that were launched by `as_of`, as they were then.
    pub fn views(&self, as_of: UnixMillis) -> impl Iterator<Item = View<'_>> {
        self.instances.values().filter_map(move |instance| {
            let view = View::of(instance, as_of)?;
            let elastic_ip = self.address_of(&instance.id, as_of);
            Some(View { elastic_ip, ..view })
        })
    }

    pub fn free_addresses(&self, subnet: &Subnet, now: UnixMillis) -> usize {
        subnet
            .cidr
            .host_count()
            .saturating_sub(self.used_addresses(subnet, now).len())
    }

    /// Addresses in the subnet that no instance has, lowest first.
    pub(super) fn unused_addresses(&self, subnet: &Subnet, now: UnixMillis) -> Vec<Ipv4Addr> {
        let used = self.used_addresses(subnet, now);
        subnet
            .cidr
            .hosts()
            .filter(|address| !used.contains(address))
            .collect()
    }

    fn used_addresses(&self, subnet: &Subnet, now: UnixMillis) -> HashSet<Ipv4Addr> {
        self.instances
            .values()
            .filter(|instance| instance.subnet.id == subnet.id)
            .filter(|instance| instance.state_at(now) != Some(State::Terminated))
            .map(|instance| instance.private_ip)
            .collect()
    }

    pub(super) fn insert(&mut self, instance: Instance) {
        self.seq_by_id.insert(instance.id.clone(), instance.seq);
        self.instances.insert(instance.seq, instance);
    }

    pub(super) fn by_seq_mut(&mut self, seq: u64) -> Option<&mut Instance> {
        self.instances.get_mut(&seq)
    }

    pub(super) fn forget(&mut self, seq: u64) -> Option<Instance> {
        let instance = self.instances.remove(&seq)?;
        self.seq_by_id.remove(&instance.id);
        Some(instance)
    }
}

impl<'a> View<'a> {
    pub fn of(instance: &'a Instance, as_of: UnixMillis) -> Option<Self> {
        let state = instance.state_at(as_of)?;
        Some(Self {
            instance,
            state,
            as_of,
            elastic_ip: None,
        })
    }

    /// The region that its zone is in.
    pub fn region(&self) -> &'a str {
        self.instance
            .subnet
            .zone
            .trim_end_matches(|c: char| c.is_ascii_lowercase())
    }

    /// What it is reached at from outside.
    pub fn public_ip(&self) -> Ipv4Addr {
        self.elastic_ip.unwrap_or(self.instance.public_ip)
    }

    /// Whether it still has its place in the network, which a terminated instance has lost.
    pub fn is_connected(&self) -> bool {
        self.state != State::Terminated
    }
}
