//! Elastic IPs: what each was associated with, and when.

use std::net::Ipv4Addr;

use serde::Serialize;

use super::launch::scatter;
use super::{AddressFile, Region, State, Tags, World};
use crate::clock::UnixMillis;

/// Addresses that are allocated begin here, in a range that is nobody's.
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

#[derive(Clone, Debug, Serialize)]
pub struct Address {
    pub allocation_id: String,
    pub public_ip: Ipv4Addr,
    pub tags: Tags,
    /// In order, the first from the beginning on; one that it has now is without an end.
    pub associations: Vec<Association>,
    pub released_at_ms: Option<UnixMillis>,
    #[serde(skip)]
    allocated_at: UnixMillis,
}

#[derive(Clone, Debug, Serialize)]
pub struct Association {
    pub association_id: String,
    /// None for what is no instance.
    pub instance_id: Option<String>,
    pub network_interface_id: String,
    pub private_ip: Option<Ipv4Addr>,
    pub at_ms: UnixMillis,
    pub until_ms: Option<UnixMillis>,
    pub ended_by: Option<Disassociated>,
}

/// Why an association is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Disassociated {
    /// By `DisassociateAddress`.
    Request,
    /// The address went to another instance.
    Reassociation,
    /// Its instance was given another address.
    Replacement,
    Termination,
}

/// Why an address could not be associated.
#[derive(Debug, PartialEq, Eq)]
pub enum Associated {
    /// Under this id; also if it was so before.
    As(String),
    NoAddress,
    NoInstance,
    /// Neither running nor stopped.
    WrongState(State),
    /// With something else, and taking it away was not allowed.
    Already(String),
}

impl From<AddressFile> for Address {
    fn from(file: AddressFile) -> Self {
        let id = |prefix: &str| file.allocation_id.replacen("eipalloc-", prefix, 1);
        let association = file
            .network_interface_id
            .clone()
            .map(|interface| Association {
                association_id: id("eipassoc-"),
                instance_id: None,
                network_interface_id: interface,
                private_ip: None,
                at_ms: UnixMillis(0),
                until_ms: None,
                ended_by: None,
            });
        Self {
            allocation_id: file.allocation_id,
            public_ip: file.public_ip,
            tags: file.tags,
            associations: association.into_iter().collect(),
            released_at_ms: None,
            allocated_at: UnixMillis(0),
        }
    }
}

impl Address {
    /// Whether it was the account's.
    pub fn is_there(&self, at: UnixMillis) -> bool {
        self.allocated_at <= at && self.released_at_ms.is_none_or(|released| at < released)
    }

    pub fn association_at(&self, at: UnixMillis) -> Option<&Association> {
        let mut past = self.associations.iter().rev();
        let last = past.find(|association| association.at_ms <= at)?;
        last.until_ms.is_none_or(|until| at < until).then_some(last)
    }

    fn end(&mut self, by: Disassociated, now: UnixMillis) {
        if let Some(last) = self.associations.last_mut()
            && last.until_ms.is_none()
        {
            last.until_ms = Some(now);
            last.ended_by = Some(by);
        }
    }

    fn current(&self) -> Option<&Association> {
        let last = self.associations.last()?;
        last.until_ms.is_none().then_some(last)
    }
}

impl World {
    /// A new address; `None` in a region that is not there.
    pub fn allocate_address(
        &mut self,
        region: &str,
        tags: Tags,
        now: UnixMillis,
    ) -> Option<&Address> {
        let unique = scatter(self.seed, self.next_seq);
        self.next_seq += 1;
        let region = self.regions.get_mut(region)?;
        let nth = u32::try_from(region.addresses.len()).unwrap_or(u32::MAX);
        region.addresses.push(Address {
            allocation_id: format!("eipalloc-0{unique:016x}"),
            public_ip: Ipv4Addr::from_bits(FIRST.to_bits().saturating_add(nth)),
            tags,
            associations: Vec::new(),
            released_at_ms: None,
            allocated_at: now,
        });
        region.addresses.last()
    }

    /// Associates an address with an instance, in one step: what it was associated with before
    /// loses it, and an address that the instance had is free.
    pub fn associate_address(
        &mut self,
        region: &str,
        allocation_id: &str,
        instance_id: &str,
        reassociate: bool,
        now: UnixMillis,
    ) -> Associated {
        let unique = scatter(self.seed, self.next_seq);
        let Some(region) = self.regions.get_mut(region) else {
            return Associated::NoAddress;
        };
        let there = |address: &&Address| address.allocation_id == allocation_id;
        let mut addresses = region.addresses.iter().filter(|it| it.is_there(now));
        let Some(address) = addresses.find(there) else {
            return Associated::NoAddress;
        };
        let Some(instance) = region.instance(instance_id) else {
            return Associated::NoInstance;
        };
        match instance.state_at(now) {
            Some(State::Running | State::Stopping | State::Stopped) => {}
            Some(state) => return Associated::WrongState(state),
            None => return Associated::NoInstance,
        }
        if let Some(current) = address.current() {
            let id = current.association_id.clone();
            if current.instance_id.as_deref() == Some(instance_id) {
                return Associated::As(id);
            }
            if !reassociate {
                return Associated::Already(id);
            }
        }
        let association = Association {
            association_id: format!("eipassoc-0{unique:016x}"),
            instance_id: Some(instance_id.to_owned()),
            network_interface_id: instance_id.replacen("i-", "eni-", 1),
            private_ip: Some(instance.private_ip),
            at_ms: now,
            until_ms: None,
            ended_by: None,
        };
        self.next_seq += 1;
        let id = association.association_id.clone();
        region.free_address_of(instance_id, Disassociated::Replacement, now);
        let mut addresses = region.addresses.iter_mut();
        if let Some(address) = addresses.find(|it| it.allocation_id == allocation_id) {
            address.end(Disassociated::Reassociation, now);
            address.associations.push(association);
        }
        Associated::As(id)
    }

    /// Whether there was such an association.
    pub fn disassociate_address(
        &mut self,
        region: &str,
        association_id: &str,
        now: UnixMillis,
    ) -> bool {
        let Some(region) = self.regions.get_mut(region) else {
            return false;
        };
        let is_it = |address: &&mut Address| {
            let current = address.current();
            current.is_some_and(|current| current.association_id == association_id)
        };
        let found = region.addresses.iter_mut().find(is_it);
        let known = found.is_some();
        if let Some(address) = found {
            address.end(Disassociated::Request, now);
        }
        known
    }

    /// False if it is still associated; `None` if there is none.
    pub fn release_address(
        &mut self,
        region: &str,
        allocation_id: &str,
        now: UnixMillis,
    ) -> Option<bool> {
        let addresses = &mut self.regions.get_mut(region)?.addresses;
        let mut addresses = addresses.iter_mut().filter(|it| it.is_there(now));
        let address = addresses.find(|it| it.allocation_id == allocation_id)?;
        if address.current().is_some() {
            return Some(false);
        }
        address.released_at_ms = Some(now);
        Some(true)
    }
}

impl Region {
    /// A terminated instance has none any more.
    pub(super) fn free_address_of(
        &mut self,
        instance_id: &str,
        by: Disassociated,
        now: UnixMillis,
    ) {
        for address in &mut self.addresses {
            let current = address.current().and_then(|it| it.instance_id.as_deref());
            if current == Some(instance_id) {
                address.end(by, now);
            }
        }
    }

    /// The Elastic IP that an instance had.
    pub fn address_of(&self, instance_id: &str, at: UnixMillis) -> Option<Ipv4Addr> {
        let mut addresses = self.addresses.iter().filter(|it| it.is_there(at));
        let has_it = |address: &&Address| {
            let association = address.association_at(at);
            association.and_then(|it| it.instance_id.as_deref()) == Some(instance_id)
        };
        addresses.find(has_it).map(|address| address.public_ip)
    }
}
