//! External addresses: Elastic IPs of a pool that replicas carry.

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
    /// It has the pool's tag. The others are looked at because a replica that carries one of
    /// them must not get another.
    pub in_pool: bool,
}

/// What an address is associated with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    Nobody,
    Instance(InstanceId),
    /// No instance: a NAT gateway, a load balancer.
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

/// What a look at the addresses came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AddressListing {
    /// The region has no pool: EC2 was not asked.
    #[default]
    Off,
    /// EC2 did not tell them. Replicas are kept all the same.
    Unknown {
        why: String,
    },
    Listed(Vec<ExternalAddress>),
}

/// A move as it was written down before EC2 was asked for it: EC2's lists lag behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressMove {
    pub to: InstanceId,
    /// Who carried it before, the last one last; null for nobody. A list that shows one of them
    /// may be from before the move.
    pub before: Vec<Option<InstanceId>>,
    /// When EC2 was first asked for it.
    pub since: Timestamp,
    /// When EC2 was last asked for it.
    pub at: Timestamp,
}

/// The moves of a region, each address' last one.
pub type AddressMoves = BTreeMap<AddressId, AddressMove>;
