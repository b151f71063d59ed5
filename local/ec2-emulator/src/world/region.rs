//! One region: its resources, its instances, and its client tokens.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Ipv4Addr;

use super::address::{Address, DisassociationReason};
use super::file::{Image, RegionFile, SecurityGroup, Subnet, Tags};
use super::instance::{Instance, State};
use crate::clock::UnixMillis;

#[derive(Debug)]
pub struct Region {
    pub name: String,
    pub subnets: Vec<Subnet>,
    pub security_groups: Vec<SecurityGroup>,
    pub images: Vec<Image>,
    /// By the name of the zone.
    pub(super) types_not_offered: BTreeMap<String, Vec<String>>,
    pub(super) addresses: Vec<Address>,
    instances: BTreeMap<u64, Instance>,
    seq_by_id: HashMap<String, u64>,
    pub(super) tokens: HashMap<TokenKey, TokenBinding>,
}

/// The scope of a client token: the subnet's zone if the request names a subnet, else the region.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TokenKey {
    pub(super) token: String,
    pub(super) zone: Option<String>,
}

/// What a client token is bound to. Bindings never expire, because EC2 documents no expiry.
#[derive(Debug)]
pub(super) struct TokenBinding {
    /// Hash of all parameters of the first request.
    pub(super) fingerprint: u64,
    /// Empty until a request under the token launches instances.
    pub(super) instance_ids: Vec<String>,
}

/// An instance as a `Describe*` request sees it, which is in the past if listings lag.
#[derive(Clone, Copy, Debug)]
pub struct InstanceView<'a> {
    pub instance: &'a Instance,
    pub state: State,
    pub as_of: UnixMillis,
    /// Replaces the instance's own public address.
    pub elastic_ip: Option<Ipv4Addr>,
}

impl Region {
    pub(super) fn new(name: String, file: RegionFile) -> Self {
        Self {
            name,
            subnets: file.subnets,
            security_groups: file.security_groups,
            images: file.images,
            types_not_offered: file.types_not_offered,
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

    /// In launch order.
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

    /// The instances that were launched by `as_of`, in their states at that time.
    pub fn views(&self, as_of: UnixMillis) -> impl Iterator<Item = InstanceView<'_>> {
        self.instances.values().filter_map(move |instance| {
            let view = InstanceView::of(instance, as_of)?;
            let elastic_ip = self.elastic_ip_of(&instance.id, as_of);
            Some(InstanceView { elastic_ip, ..view })
        })
    }

    pub fn free_address_count(&self, subnet: &Subnet, now: UnixMillis) -> usize {
        subnet
            .cidr
            .host_count()
            .saturating_sub(self.used_addresses(subnet, now).len())
    }

    /// The private addresses of the subnet that no instance uses, the lowest first.
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

    /// Ends the associations of an instance's Elastic IPs.
    pub(super) fn disassociate_instance(
        &mut self,
        instance_id: &str,
        by: DisassociationReason,
        now: UnixMillis,
    ) {
        for address in &mut self.addresses {
            let current = address.current_association();
            if current.and_then(|it| it.instance_id.as_deref()) == Some(instance_id) {
                address.disassociate(by, now);
            }
        }
    }

    /// The Elastic IP that an instance had at that time.
    pub fn elastic_ip_of(&self, instance_id: &str, at: UnixMillis) -> Option<Ipv4Addr> {
        let mut addresses = self.addresses.iter().filter(|it| it.exists_at(at));
        let has_it = |address: &&Address| {
            let association = address.association_at(at);
            association.and_then(|it| it.instance_id.as_deref()) == Some(instance_id)
        };
        addresses.find(has_it).map(|address| address.public_ip)
    }

    pub(super) fn insert(&mut self, instance: Instance) {
        self.seq_by_id.insert(instance.id.clone(), instance.seq);
        self.instances.insert(instance.seq, instance);
    }

    pub(super) fn by_seq_mut(&mut self, seq: u64) -> Option<&mut Instance> {
        self.instances.get_mut(&seq)
    }

    pub(super) fn remove(&mut self, seq: u64) -> Option<Instance> {
        let instance = self.instances.remove(&seq)?;
        self.seq_by_id.remove(&instance.id);
        Some(instance)
    }
}

impl<'a> InstanceView<'a> {
    pub fn of(instance: &'a Instance, as_of: UnixMillis) -> Option<Self> {
        let state = instance.state_at(as_of)?;
        Some(Self {
            instance,
            state,
            as_of,
            elastic_ip: None,
        })
    }

    /// The region, derived from the name of the zone.
    pub fn region(&self) -> &'a str {
        self.instance
            .subnet
            .zone
            .trim_end_matches(|c: char| c.is_ascii_lowercase())
    }

    /// The Elastic IP if the instance has one, else its own public address, if its subnet assigns
    /// one. EC2 does that after it has answered the launch.
    pub fn public_ip(&self) -> Option<Ipv4Addr> {
        let is_assigned =
            self.instance.subnet.map_public_ip_on_launch && self.as_of > self.instance.launched_at;
        let own = is_assigned.then_some(self.instance.public_ip);
        self.elastic_ip.or(own)
    }

    /// The instance's tags. A terminated instance loses them some time before its id is unknown.
    pub fn tags(&self) -> &'a Tags {
        static NO_TAGS: Tags = Tags::new();
        let untagged_at = self.instance.untagged_at;
        if untagged_at.is_some_and(|at| at <= self.as_of) {
            &NO_TAGS
        } else {
            &self.instance.tags
        }
    }

    /// Whether the instance has addresses and a subnet. A terminated instance has lost them.
    pub fn is_connected(&self) -> bool {
        self.state != State::Terminated
    }
}
