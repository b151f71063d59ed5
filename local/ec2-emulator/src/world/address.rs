//! Elastic IPs, and the history of what each was associated with.

use std::net::Ipv4Addr;

use serde::Serialize;

use super::file::{AddressFile, Tags};
use crate::clock::UnixMillis;

#[derive(Clone, Debug, Serialize)]
pub struct Address {
    pub allocation_id: String,
    pub public_ip: Ipv4Addr,
    pub tags: Tags,
    /// The oldest first. A current association is the last one and has no end.
    pub associations: Vec<Association>,
    pub released_at_ms: Option<UnixMillis>,
    #[serde(skip)]
    pub(super) allocated_at: UnixMillis,
}

#[derive(Clone, Debug, Serialize)]
pub struct Association {
    pub association_id: String,
    /// `None` if the network interface is not an instance's, such as a NAT gateway's.
    pub instance_id: Option<String>,
    pub network_interface_id: String,
    pub private_ip: Option<Ipv4Addr>,
    pub at_ms: UnixMillis,
    pub until_ms: Option<UnixMillis>,
    pub ended_by: Option<DisassociationReason>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DisassociationReason {
    /// `DisassociateAddress` was called.
    Request,
    /// The address was associated with another instance.
    Reassociation,
    /// The instance was given another address.
    Replacement,
    /// The instance was terminated.
    Termination,
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
    /// Whether the address was allocated and not yet released at that time.
    pub fn exists_at(&self, at: UnixMillis) -> bool {
        self.allocated_at <= at && self.released_at_ms.is_none_or(|released| at < released)
    }

    pub fn association_at(&self, at: UnixMillis) -> Option<&Association> {
        let mut past = self.associations.iter().rev();
        let last = past.find(|association| association.at_ms <= at)?;
        last.until_ms.is_none_or(|until| at < until).then_some(last)
    }

    pub(super) fn current_association(&self) -> Option<&Association> {
        let last = self.associations.last()?;
        last.until_ms.is_none().then_some(last)
    }

    /// Ends the current association, if there is one.
    pub(super) fn disassociate(&mut self, by: DisassociationReason, now: UnixMillis) {
        if let Some(last) = self.associations.last_mut()
            && last.until_ms.is_none()
        {
            last.until_ms = Some(now);
            last.ended_by = Some(by);
        }
    }
}
