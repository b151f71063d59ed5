//! A region's Elastic IPs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use shared::ids::AddressId;
use shared::model::Carrier;
use shared::settings::AddressTag;

/// All addresses of the account, by id.
pub type Addresses = BTreeMap<AddressId, FakeAddress>;

/// An address with its history.
#[derive(Clone, Debug)]
pub struct FakeAddress {
    pub ip: IpAddr,
    pub tag: AddressTag,
    /// Its carriers since its allocation, each with the time from which it has the address. An
    /// address whose carrier is terminated is free.
    pub carried: Vec<(Timestamp, Carrier)>,
}
