//! Allocates, associates, disassociates and releases Elastic IPs.

use std::net::Ipv4Addr;

use super::address::{Address, Association, DisassociationReason};
use super::file::Tags;
use super::ids::pseudo_random;
use super::instance::State;
use super::state::World;
use crate::clock::UnixMillis;

/// The first address to allocate. The range 198.18.0.0/15 is reserved for benchmarks (RFC 2544),
/// so it belongs to nobody.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

#[derive(Debug, PartialEq, Eq)]
pub enum AssociateOutcome {
    /// The address is associated under this id. It may have been before the request.
    Associated(String),
    AddressNotFound,
    InstanceNotFound,
    /// The instance is neither running, stopping nor stopped.
    WrongState(State),
    /// The address is associated with something else under this id, and the request does not allow
    /// a reassociation.
    AlreadyAssociated(String),
}

impl World {
    /// Allocates a new address. Returns `None` if the region is unknown.
    pub fn allocate_address(
        &mut self,
        region: &str,
        tags: Tags,
        now: UnixMillis,
    ) -> Option<&Address> {
        let unique = pseudo_random(self.seed, self.next_seq);
        self.next_seq += 1;
        let region = self.regions.get_mut(region)?;
        let nth = u32::try_from(region.addresses.len()).unwrap_or(u32::MAX);
        region.addresses.push(Address {
            allocation_id: format!("eipalloc-0{unique:016x}"),
            public_ip: Ipv4Addr::from_bits(FIRST_ADDRESS.to_bits().saturating_add(nth)),
            tags,
            associations: Vec::new(),
            released_at_ms: None,
            allocated_at: now,
        });
        region.addresses.last()
    }

    /// Associates an address with an instance in one step. This ends the address's previous
    /// association, and that of any other address with the instance.
    pub fn associate_address(
        &mut self,
        region: &str,
        allocation_id: &str,
        instance_id: &str,
        allow_reassociation: bool,
        now: UnixMillis,
    ) -> AssociateOutcome {
        let unique = pseudo_random(self.seed, self.next_seq);
        let Some(region) = self.regions.get_mut(region) else {
            return AssociateOutcome::AddressNotFound;
        };
        let is_it = |address: &&Address| address.allocation_id == allocation_id;
        let mut addresses = region.addresses.iter().filter(|it| it.exists_at(now));
        let Some(address) = addresses.find(is_it) else {
            return AssociateOutcome::AddressNotFound;
        };
        let Some(instance) = region.instance(instance_id) else {
            return AssociateOutcome::InstanceNotFound;
        };
        match instance.state_at(now) {
            Some(State::Running | State::Stopping | State::Stopped) => {}
            Some(state) => return AssociateOutcome::WrongState(state),
            None => return AssociateOutcome::InstanceNotFound,
        }
        if let Some(current) = address.current_association() {
            let id = current.association_id.clone();
            if current.instance_id.as_deref() == Some(instance_id) {
                return AssociateOutcome::Associated(id);
            }
            if !allow_reassociation {
                return AssociateOutcome::AlreadyAssociated(id);
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
        region.disassociate_instance(instance_id, DisassociationReason::Replacement, now);
        let mut addresses = region.addresses.iter_mut();
        if let Some(address) = addresses.find(|it| it.allocation_id == allocation_id) {
            address.disassociate(DisassociationReason::Reassociation, now);
            address.associations.push(association);
        }
        AssociateOutcome::Associated(id)
    }

    /// Ends a current association. Returns whether there was one with this id.
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
            let current = address.current_association();
            current.is_some_and(|current| current.association_id == association_id)
        };
        let found = region.addresses.iter_mut().find(is_it);
        let known = found.is_some();
        if let Some(address) = found {
            address.disassociate(DisassociationReason::Request, now);
        }
        known
    }

    /// Releases an address. Returns `Some(false)` if it is still associated, `None` if it does not
    /// exist.
    pub fn release_address(
        &mut self,
        region: &str,
        allocation_id: &str,
        now: UnixMillis,
    ) -> Option<bool> {
        let addresses = &mut self.regions.get_mut(region)?.addresses;
        let mut addresses = addresses.iter_mut().filter(|it| it.exists_at(now));
        let address = addresses.find(|it| it.allocation_id == allocation_id)?;
        if address.current_association().is_some() {
            return Some(false);
        }
        address.released_at_ms = Some(now);
        Some(true)
    }
}
