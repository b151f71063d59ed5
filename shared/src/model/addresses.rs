//! External addresses: Elastic IPs of a pool that are associated with replicas.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{AddressId, InstanceId};

/// One of the account's Elastic IPs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAddress {
    pub id: AddressId,
    pub ip: IpAddr,
    pub carrier: Carrier,
    /// It has the pool's tag. Other addresses are listed too, because a replica that has one of
    /// them must not get a second one.
    pub in_pool: bool,
}

/// What an address is associated with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    Nobody,
    Instance(InstanceId),
    /// Something else than an instance, such as a NAT gateway or a load balancer.
    Other(String),
}

impl Carrier {
    pub fn instance(&self) -> Option<&InstanceId> {
        match self {
            Self::Instance(id) => Some(id),
            Self::Nobody | Self::Other(_) => None,
        }
    }
}

/// The outcome of listing the addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AddressListing {
    /// The region has no pool, so EC2 was not asked.
    #[default]
    Off,
    /// EC2 did not list them. Replicas are reconciled anyway, without their addresses.
    Unknown {
        why: String,
    },
    Listed(Vec<ExternalAddress>),
}

/// A move of an address, recorded before it is requested from EC2, because EC2's listings lag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressMove {
    pub to: InstanceId,
    /// Its earlier carriers, the latest last; null where it was free. A listing that shows one of
    /// them may be from before the move.
    pub before: Vec<Option<InstanceId>>,
    /// When the move was first requested.
    pub since: Timestamp,
    /// When the move was last requested.
    pub at: Timestamp,
}

/// The last move of each address of a region.
pub type AddressMoves = BTreeMap<AddressId, AddressMove>;
