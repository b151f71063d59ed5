//! A region's Elastic IPs: who carried each, and since when.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;

use super::Machines;
use shared::host::{HostErrorKind, Reassociation};
use shared::ids::{AddressId, InstanceId};
use shared::model::{Carrier, ExternalAddress, MachineState};
use shared::settings::AddressTag;

/// All of the account's, by id.
pub type Addresses = BTreeMap<AddressId, FakeAddress>;

#[derive(Clone, Debug)]
pub struct FakeAddress {
    pub ip: IpAddr,
    pub tag: AddressTag,
    /// From its allocation on; one whose carrier is terminated is free.
    pub carried: Vec<(Timestamp, Carrier)>,
}

impl Machines {
    /// One more address with this tag, which nobody carries.
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

    /// Who carries an address.
    pub fn carrier(&self, id: &AddressId, at: Timestamp) -> Carrier {
        let Some(address) = self.external.get(id) else {
            return Carrier::Nobody;
        };
        let past = address.carried.partition_point(|(since, _)| *since <= at);
        let carrier = past.checked_sub(1).map(|last| &address.carried[last].1);
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

    /// `DescribeAddresses` for all, which lags.
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

    /// `AssociateAddress`. An address that the machine carried before goes free, as EC2 has it.
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
        let wanted = Carrier::Instance(to.clone());
        match self.carrier(address, now) {
            carrier if carrier == wanted => return Ok(()),
            Carrier::Nobody => {}
            _ if allowed == Reassociation::Refused => return Err(HostErrorKind::Invalid),
            _ => {}
        }
        let carried = |id: &&AddressId| self.carrier(id, now) == wanted;
        let lost: Vec<_> = self.external.keys().filter(carried).cloned().collect();
        for id in lost {
            self.put_on(&id, Carrier::Nobody, now);
        }
        self.put_on(address, wanted, now);
        Ok(())
    }

    /// By hand, whoever carries it.
    pub fn put_on(&mut self, address: &AddressId, carrier: Carrier, now: Timestamp) {
        if let Some(address) = self.external.get_mut(address) {
            address.carried.push((now, carrier));
        }
    }
}
