//! Limits on the capacity for launches, and instance types that zones do not offer.

use serde::{Deserialize, Serialize};

use super::fault::matches;
use crate::market::Market;

/// At most `available` more instances can be launched where the limit applies.
///
/// Every launch reduces `available`. A termination does not increase it: at the real EC2, other
/// accounts compete for the released capacity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapacityLimit {
    /// If absent, all regions. The other fields work the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub market: Option<Market>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<String>,
    pub available: u32,
}

/// An instance type that a zone does not offer. An absent field matches everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotOffered {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// The name of an availability zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// Where a launch needs capacity.
#[derive(Clone, Copy, Debug)]
pub struct Pool<'a> {
    pub region: &'a str,
    pub market: Market,
    pub instance_type: &'a str,
    pub subnet_id: &'a str,
    pub zone: &'a str,
}

impl CapacityLimit {
    fn applies_to(&self, pool: Pool<'_>) -> bool {
        matches(self.region.as_deref(), pool.region)
            && self.market.is_none_or(|market| market == pool.market)
            && matches(self.instance_type.as_deref(), pool.instance_type)
            && matches(self.subnet_id.as_deref(), pool.subnet_id)
    }
}

impl NotOffered {
    pub(super) fn applies_to(&self, region: &str, instance_type: &str, zone: &str) -> bool {
        matches(self.region.as_deref(), region)
            && matches(self.instance_type.as_deref(), instance_type)
            && matches(self.zone.as_deref(), zone)
    }
}

/// See [`super::Faults::capacity_left`].
pub(super) fn left(limits: &[CapacityLimit], pool: Pool<'_>) -> Option<u32> {
    limits
        .iter()
        .filter(|limit| limit.applies_to(pool))
        .map(|limit| limit.available)
        .min()
}

/// See [`super::Faults::use_capacity`].
pub(super) fn subtract(limits: &mut [CapacityLimit], pool: Pool<'_>, count: u32) {
    for limit in limits.iter_mut().filter(|limit| limit.applies_to(pool)) {
        limit.available = limit.available.saturating_sub(count);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const POOL: Pool<'_> = Pool {
        region: "us-east-1",
        market: Market::OnDemand,
        instance_type: "g4dn.xlarge",
        subnet_id: "subnet-a",
        zone: "us-east-1a",
    };

    #[test]
    fn tightest_applying_limit_counts_and_every_applying_limit_is_reduced() {
        let mut limits: Vec<CapacityLimit> = serde_json::from_value(json!([
            {"region": "us-east-1", "available": 5},
            {"instance_type": "g4dn.xlarge", "subnet_id": "subnet-a", "available": 2},
            {"instance_type": "g4dn.xlarge", "subnet_id": "subnet-b", "available": 0},
        ]))
        .unwrap();
        assert_eq!(left(&limits, POOL), Some(2));
        subtract(&mut limits, POOL, 2);
        assert_eq!(left(&limits, POOL), Some(0));
        assert_eq!(limits[0].available, 3);
        let elsewhere = Pool {
            region: "eu-west-1",
            ..POOL
        };
        assert_eq!(left(&limits, elsewhere), Some(0));
        let other_subnet = Pool {
            subnet_id: "subnet-c",
            ..POOL
        };
        assert_eq!(left(&limits, other_subnet), Some(3));
    }

    #[test]
    fn capacity_without_limits_is_unlimited() {
        assert_eq!(left(&[], POOL), None);
    }
}
