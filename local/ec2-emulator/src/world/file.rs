//! The world file: the resources that the account has at the start.
//!
//! `world.json` in this crate is the default. Unknown fields are errors, so that a misspelled name
//! in a test's world is reported instead of ignored.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The tags of a resource: key → value.
pub type Tags = BTreeMap<String, String>;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WorldFile {
    /// Twelve digits; the owner of all resources.
    pub account_id: String,
    /// The names of the IAM instance profiles. If absent, every name is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_profiles: Option<Vec<String>>,
    pub regions: BTreeMap<String, RegionFile>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RegionFile {
    pub subnets: Vec<Subnet>,
    pub security_groups: Vec<SecurityGroup>,
    pub images: Vec<Image>,
    /// Elastic IPs.
    #[serde(default)]
    pub addresses: Vec<AddressFile>,
    /// The instance types that a zone does not offer, by the zone's name. If absent, every zone
    /// offers every type.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub types_not_offered: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    pub id: String,
    pub vpc_id: String,
    /// The availability zone's name, `us-east-1a`.
    pub zone: String,
    /// The availability zone's id, `use1-az1`.
    pub zone_id: String,
    pub cidr: Cidr,
    /// Whether a launch that names no subnet may use this one.
    #[serde(default)]
    pub default_for_zone: bool,
    /// Whether instances get a public address, as in a public subnet.
    #[serde(default = "public")]
    pub map_public_ip_on_launch: bool,
    #[serde(default)]
    pub tags: Tags,
}

fn public() -> bool {
    true
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SecurityGroup {
    pub id: String,
    pub vpc_id: String,
    pub name: String,
    pub description: String,
    #[serde(default)]
    pub tags: Tags,
}

/// An Elastic IP that the account has at the start.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AddressFile {
    pub allocation_id: String,
    pub public_ip: Ipv4Addr,
    /// The network interface of something that is not an instance, such as a NAT gateway. It keeps
    /// the address unless a request takes it away.
    #[serde(default)]
    pub network_interface_id: Option<String>,
    #[serde(default)]
    pub tags: Tags,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    pub id: String,
    pub name: String,
    #[serde(default)]
    pub state: ImageState,
    #[serde(default)]
    pub architecture: Architecture,
    #[serde(default)]
    pub tags: Tags,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ImageState {
    #[default]
    Available,
    Pending,
    Failed,
    /// The id is still known, but the image is neither listed nor usable for a launch.
    Deregistered,
}

impl ImageState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Pending => "pending",
            Self::Failed => "failed",
            Self::Deregistered => "deregistered",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    #[default]
    #[serde(rename = "x86_64")]
    X86_64,
    Arm64,
}

impl Architecture {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }
}

/// A range of IPv4 addresses, `10.1.0.0/20`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    network: Ipv4Addr,
    prefix: u8,
}

/// AWS reserves the first four addresses of a subnet and the last one:
/// <https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html>.
const RESERVED_FIRST: u32 = 4;
const RESERVED_LAST: u32 = 1;

impl Cidr {
    /// The addresses that instances can have, the lowest first.
    pub fn hosts(self) -> impl Iterator<Item = Ipv4Addr> {
        let start = self.network.to_bits();
        (RESERVED_FIRST..self.size() - RESERVED_LAST)
            .map(move |offset| Ipv4Addr::from_bits(start + offset))
    }

    pub fn host_count(self) -> usize {
        (self.size() - RESERVED_FIRST - RESERVED_LAST) as usize
    }

    fn size(self) -> u32 {
        1 << (32 - self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("{text:?} should be a range such as 10.1.0.0/20 (/16 to /28)");
        let (network, prefix) = text.split_once('/').ok_or_else(expected)?;
        let network: Ipv4Addr = network.parse().map_err(|_| expected())?;
        let prefix: u8 = prefix.parse().map_err(|_| expected())?;
        // AWS allows /16 to /28 for a subnet.
        if !(16..=28).contains(&prefix) || !network.to_bits().is_multiple_of(1 << (32 - prefix)) {
            return Err(expected());
        }
        Ok(Self { network, prefix })
    }
}

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> String {
        cidr.to_string()
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// The text of the world file that is used when none is given.
pub const DEFAULT_WORLD: &str = include_str!("../../world.json");

/// Parses the text of a world file. The error names the line and the column.
impl FromStr for WorldFile {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let world: Self = serde_json::from_str(text)?;
        for (name, region) in &world.regions {
            let is_known = |zone: &String| region.subnets.iter().any(|it| it.zone == *zone);
            let mut zones = region.types_not_offered.keys();
            if let Some(zone) = zones.find(|zone| !is_known(zone)) {
                return Err(serde::de::Error::custom(format!(
                    "{name}: types_not_offered: no subnet is in the zone {zone:?}"
                )));
            }
        }
        Ok(world)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_world_has_two_zones_and_a_deregistered_image_in_every_region() {
        let world: WorldFile = DEFAULT_WORLD.parse().unwrap();
        assert!(world.regions.len() >= 3);
        for (name, region) in &world.regions {
            let mut zones: Vec<_> = region.subnets.iter().map(|subnet| &subnet.zone).collect();
            zones.dedup();
            assert!(zones.len() >= 2, "{name}");
            assert!(
                zones.iter().all(|zone| zone.starts_with(name.as_str())),
                "{name}"
            );
            assert!(!region.security_groups.is_empty(), "{name}");
            assert!(
                region
                    .images
                    .iter()
                    .any(|image| image.state == ImageState::Deregistered),
                "{name}"
            );
        }
    }

    #[test]
    fn zone_without_subnet_is_named_in_error() {
        let world = |zone: &str| {
            let types =
                format!("\"types_not_offered\": {{\"{zone}\": [\"g5.xlarge\"]}}, \"images\"");
            DEFAULT_WORLD
                .replacen("\"images\"", &types, 1)
                .parse::<WorldFile>()
        };
        assert!(world("us-east-1a").is_ok());
        let error = world("us-east-1z").unwrap_err().to_string();
        assert!(error.contains("us-east-1z"), "{error}");
    }

    #[test]
    fn subnet_offers_all_but_five_addresses() {
        let cidr: Cidr = "10.1.0.0/28".parse().unwrap();
        let hosts: Vec<_> = cidr.hosts().collect();
        assert_eq!(hosts.len(), 11);
        assert_eq!(cidr.host_count(), 11);
        assert_eq!(hosts[0], Ipv4Addr::new(10, 1, 0, 4));
        assert_eq!(hosts[10], Ipv4Addr::new(10, 1, 0, 14));
    }

    #[test]
    fn malformed_range_is_named_in_error() {
        for bad in [
            "10.1.0.0",
            "10.1.0.0/33",
            "10.1.0.0/8",
            "10.1.0.1/24",
            "x/20",
        ] {
            assert!(bad.parse::<Cidr>().unwrap_err().contains(bad));
        }
    }
}
