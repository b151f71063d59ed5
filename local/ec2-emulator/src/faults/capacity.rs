//! Instances that there is no room for.

use serde::{Deserialize, Serialize};

use super::Faults;
use crate::world::Market;

/// At most `available` more instances of a type in a subnet, of one market or of both.
///
/// Every launch uses some of it up. A termination gives nothing back, since others are waiting
/// for that capacity too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapacityLimit {
    /// All regions when it is left out; likewise below.
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

/// Where capacity is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Pool<'a> {
    pub region: &'a str,
    pub market: Market,
    pub instance_type: &'a str,
    pub subnet_id: &'a str,
}

impl CapacityLimit {
    fn applies_to(&self, pool: Pool<'_>) -> bool {
        let fits =
            |limit: &Option<String>, value| limit.as_deref().is_none_or(|limit| limit == value);
        fits(&self.region, pool.region)
            && self.market.is_none_or(|market| market == pool.market)
            && fits(&self.instance_type, pool.instance_type)
            && fits(&self.subnet_id, pool.subnet_id)
    }
}

impl Faults {
    /// How many instances can be launched there; `None` for no limit.
    pub fn capacity_left(&self, pool: Pool<'_>) -> Option<u32> {
        self.capacity
            .iter()
            .filter(|limit| limit.applies_to(pool))
            .map(|limit| limit.available)
            .min()
    }

    pub fn use_capacity(&mut self, pool: Pool<'_>, count: u32) {
        for limit in self
            .capacity
            .iter_mut()
            .filter(|limit| limit.applies_to(pool))
        {
            limit.available = limit.available.saturating_sub(count);
        }
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
    };

    #[test]
    fn the_tightest_limit_that_applies_counts_and_all_of_them_are_used_up() {
        let mut faults: Faults = serde_json::from_value(json!({"capacity": [
            {"region": "us-east-1", "available": 5},
            {"instance_type": "g4dn.xlarge", "subnet_id": "subnet-a", "available": 2},
            {"instance_type": "g4dn.xlarge", "subnet_id": "subnet-b", "available": 0},
        ]}))
        .unwrap();
        assert_eq!(faults.capacity_left(POOL), Some(2));
        faults.use_capacity(POOL, 2);
        assert_eq!(faults.capacity_left(POOL), Some(0));
        assert_eq!(faults.capacity[0].available, 3);
        assert_eq!(
            faults.capacity_left(Pool {
                region: "eu-west-1",
                ..POOL
            }),
            Some(0)
        );
        assert_eq!(
            faults.capacity_left(Pool {
                subnet_id: "subnet-c",
                ..POOL
            }),
            Some(3)
        );
    }

    #[test]
    fn without_faults_nothing_is_limited() {
        assert_eq!(Faults::default().capacity_left(POOL), None);
    }
}
