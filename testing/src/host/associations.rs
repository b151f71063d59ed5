//! `DescribeAddresses` and `AssociateAddress`.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use shared::host::{HostErrorKind, Reassociation};
use shared::ids::{AddressId, InstanceId};
use shared::model::{Carrier, ExternalAddress, MachineState};
use shared::settings::AddressTag;

use super::addresses::FakeAddress;
use super::machines::Machines;

impl Machines {
    /// Allocates a free address with this tag.
    pub fn allocate(&mut self, tag: &AddressTag, now: Timestamp) -> AddressId {
        let nth = u32::try_from(self.external.len()).unwrap_or(u32::MAX) + 1;
        let id = AddressId::new(format!("eipalloc-{nth:02}"));
        let address = FakeAddress {
            ip: Ipv4Addr::from_bits(u32::from_be_bytes([203, 0, 113, 0]) + nth).into(),
            tag: tag.clone(),
            carried: vec![(now, Carrier::Nobody)],
        };
        self.external.insert(id.clone(), address);
        id
    }

    /// The carrier of an address at a time.
    pub fn carrier(&self, id: &AddressId, at: Timestamp) -> Carrier {
        let Some(address) = self.external.get(id) else {
            return Carrier::Nobody;
        };
        let count = address.carried.partition_point(|(since, _)| *since <= at);
        let carrier = count.checked_sub(1).map(|last| &address.carried[last].1);
        match carrier {
            Some(Carrier::Instance(id)) if self.has_ended(id, at) => Carrier::Nobody,
            Some(carrier) => carrier.clone(),
            None => Carrier::Nobody,
        }
    }

    fn has_ended(&self, id: &InstanceId, at: Timestamp) -> bool {
        let state = self.machines.get(id).and_then(|row| row.state_at(at));
        state == Some(MachineState::Terminated)
    }

    /// `DescribeAddresses` for all addresses. It lags.
    pub fn addresses(&self, tag: &AddressTag, now: Timestamp) -> Vec<ExternalAddress> {
        let at = now - self.delays.address_lag;
        let listed = self.external.iter().map(|(id, address)| ExternalAddress {
            id: id.clone(),
            ip: address.ip,
            carrier: self.carrier(id, at),
            in_pool: address.tag == *tag,
        });
        listed.collect()
    }

    /// `AssociateAddress`. An address that the machine had before becomes free, as at EC2.
    ///
    /// # Errors
    /// `Gone`, `Invalid`.
    pub fn associate(
        &mut self,
        address: &AddressId,
        to: &InstanceId,
        allowed: Reassociation,
        now: Timestamp,
    ) -> Result<(), HostErrorKind> {
        let runs = self.machines.get(to).and_then(|row| row.state_at(now));
        if !self.external.contains_key(address) || runs != Some(MachineState::Running) {
            return Err(HostErrorKind::Gone);
        }
        let requested = Carrier::Instance(to.clone());
        match self.carrier(address, now) {
            carrier if carrier == requested => return Ok(()),
            Carrier::Nobody => {}
            _ if allowed == Reassociation::Refused => return Err(HostErrorKind::Invalid),
            _ => {}
        }
        let is_replaced = |id: &&AddressId| self.carrier(id, now) == requested;
        let replaced: Vec<_> = self.external.keys().filter(is_replaced).cloned().collect();
        for id in replaced {
            self.put_on(&id, Carrier::Nobody, now);
        }
        self.put_on(address, requested, now);
        Ok(())
    }

    /// Sets the carrier of an address, whichever carrier it has.
    pub fn put_on(&mut self, address: &AddressId, carrier: Carrier, now: Timestamp) {
        if let Some(address) = self.external.get_mut(address) {
            address.carried.push((now, carrier));
        }
    }
}
