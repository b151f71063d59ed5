//! External addresses: Elastic IPs of a pool that replicas carry.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{AddressId, InstanceId};

/// The tag by which a pool's addresses are found: `REPLICA_ADDRESS_TAG`, as `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddressTag {
    pub key: String,
    pub value: String,
}

impl AddressTag {
    /// For error messages.
    pub const EXPECTED: &'static str = "KEY=VALUE, the tag of the Elastic IPs";
}

impl fmt::Display for AddressTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

impl FromStr for AddressTag {
    type Err = ();

    /// The first `=` ends the key.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok(Self {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err(()),
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_key_and_a_value() {
        let tag: AddressTag = "pool=a=b".parse().unwrap();
        assert_eq!((tag.key.as_str(), tag.value.as_str()), ("pool", "a=b"));
        assert_eq!(tag.to_string(), "pool=a=b");
        for wrong in ["", "pool", "=a", "pool="] {
            assert!(wrong.parse::<AddressTag>().is_err(), "{wrong:?}");
        }
    }
}
