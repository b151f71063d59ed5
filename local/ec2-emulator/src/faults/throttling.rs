//! EC2's limits on the rate of requests: one token bucket for each region and action, and another
//! one for the instances that `RunInstances` requests.
//!
//! <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fault::elapse;
use crate::params::Params;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Throttling {
    /// Factor for the size of every bucket. 1 is EC2's size. A bucket holds at least one token.
    pub burst: f64,
    /// Factor for the refill rate of every bucket. 1 is EC2's rate, 0 disables the refill.
    pub refill: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// The buckets that may not be full. All others are.
    pub buckets: Vec<Bucket>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    pub region: String,
    /// The name of an action, or `RunInstances:instances`.
    pub name: String,
    pub tokens: f64,
}

/// The bucket of the requested instances.
const INSTANCES: &str = "RunInstances:instances";

/// A bucket's rate and size as EC2 publishes them.
struct Limit {
    /// Tokens per second.
    refill: f64,
    /// The maximum number of tokens.
    burst: f64,
}

impl Limit {
    fn of(name: &str) -> Option<Self> {
        let (refill, burst) = match name {
            "RunInstances" => (2.0, 5.0),
            INSTANCES => (2.0, 1000.0),
            "TerminateInstances" => (5.0, 100.0),
            "CreateTags" => (10.0, 100.0),
            name if name.starts_with("Describe") => (20.0, 100.0),
            _ => return None,
        };
        Some(Self { refill, burst })
    }
}

impl Default for Throttling {
    fn default() -> Self {
        Self {
            burst: 1.0,
            refill: 1.0,
            for_ms: None,
            buckets: Vec::new(),
        }
    }
}

impl Throttling {
    /// # Errors
    /// If a factor is negative or a bucket is unknown; the message names it.
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, factor) in [("burst", self.burst), ("refill", self.refill)] {
            if factor < 0.0 {
                return Err(format!(
                    "throttling.{name} must not be negative, but is {factor}"
                ));
            }
        }
        if let Some(bucket) = self.buckets.iter().find(|it| Limit::of(&it.name).is_none()) {
            let name = &bucket.name;
            return Err(format!(
                "throttling.buckets: {name:?} is neither a supported action nor {INSTANCES}"
            ));
        }
        Ok(())
    }

    /// Refills the buckets, and drops those that are full.
    pub(super) fn advance(&mut self, time: Duration) {
        elapse(&mut self.for_ms, time);
        let (burst, refill) = (self.burst, self.refill);
        self.buckets.retain_mut(|bucket| {
            let Some(limit) = Limit::of(&bucket.name) else {
                return false;
            };
            bucket.tokens += time.as_secs_f64() * limit.refill * refill;
            bucket.tokens < (limit.burst * burst).max(1.0)
        });
    }

    /// Takes one token from the action's bucket, and one from the instances' bucket for each
    /// requested instance. Returns false, and takes nothing, if a bucket has too few tokens.
    pub fn try_acquire(&mut self, region: &str, action: &str, params: &Params) -> bool {
        let instances = match params.as_map().get("MaxCount") {
            Some(count) if action == "RunInstances" => count.parse().unwrap_or(0),
            _ => 0,
        };
        self.acquire(region, action, instances)
    }

    fn acquire(&mut self, region: &str, action: &str, instances: u32) -> bool {
        if Limit::of(action).is_none() {
            return true;
        }
        let mut taken = vec![(self.bucket(region, action), 1.0)];
        if instances > 0 {
            taken.push((self.bucket(region, INSTANCES), f64::from(instances)));
        }
        let enough = taken
            .iter()
            .all(|(index, tokens)| self.buckets[*index].tokens >= *tokens);
        if enough {
            for (index, tokens) in taken {
                self.buckets[index].tokens -= tokens;
            }
        }
        enough
    }

    /// The index of a bucket. A new one is full.
    fn bucket(&mut self, region: &str, name: &str) -> usize {
        let known = self
            .buckets
            .iter()
            .position(|bucket| bucket.region == region && bucket.name == name);
        known.unwrap_or_else(|| {
            let size = Limit::of(name).map_or(0.0, |limit| limit.burst * self.burst);
            self.buckets.push(Bucket {
                region: region.to_owned(),
                name: name.to_owned(),
                tokens: size.max(1.0),
            });
            self.buckets.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acquired(throttling: &mut Throttling, action: &str, calls: u32) -> usize {
        (0..calls)
            .filter(|_| throttling.acquire("us-east-1", action, 0))
            .count()
    }

    #[test]
    fn action_in_region_has_bucket_of_ec2s_size() {
        let mut ec2 = Throttling::default();
        for (action, burst, refill) in [
            ("RunInstances", 5, 2),
            ("TerminateInstances", 100, 5),
            ("CreateTags", 100, 10),
            ("DescribeInstances", 100, 20),
            ("DescribeSubnets", 100, 20),
        ] {
            assert_eq!(acquired(&mut ec2, action, 200), burst, "{action}");
            ec2.advance(Duration::from_secs(1));
            assert_eq!(acquired(&mut ec2, action, 200), refill, "{action}");
        }
        assert!(ec2.acquire("eu-west-1", "RunInstances", 0));
    }

    #[test]
    fn requested_instances_have_a_bucket_of_their_own() {
        let mut ec2 = Throttling::default();
        assert!(ec2.acquire("us-east-1", "RunInstances", 990));
        assert!(!ec2.acquire("us-east-1", "RunInstances", 11));
        assert!(ec2.acquire("us-east-1", "RunInstances", 10));
        ec2.advance(Duration::from_secs(3));
        assert!(!ec2.acquire("us-east-1", "RunInstances", 7));
        assert!(ec2.acquire("us-east-1", "RunInstances", 6));
    }

    #[test]
    fn buckets_with_small_factors_are_smaller_and_slower() {
        let mut small = Throttling {
            burst: 0.01,
            refill: 0.1,
            ..Throttling::default()
        };
        assert_eq!(acquired(&mut small, "RunInstances", 9), 1);
        small.advance(Duration::from_secs(4));
        assert_eq!(acquired(&mut small, "RunInstances", 9), 0);
        small.advance(Duration::from_secs(1));
        assert_eq!(acquired(&mut small, "RunInstances", 9), 1);
    }
}
