//! What a launch may request: instance types by zone, and EBS optimization by type.

use super::region::Region;
use crate::error::ApiError;
use crate::faults::Faults;

/// Instance families of before 2015. Types of other families are EBS-optimized in any case, so
/// that a request for it is accepted.
const OLD_FAMILIES: [&str; 16] = [
    "c1", "c3", "cc1", "cc2", "cg1", "cr1", "g2", "hi1", "hs1", "i2", "m1", "m2", "m3", "r3", "t1",
    "t2",
];
/// The types of these families that can be EBS-optimized. Source: the table "EBS optimization
/// supported" of <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ebs-optimized.html>.
const OLD_OPTIMIZABLE: [&str; 17] = [
    "c1.xlarge",
    "c3.xlarge",
    "c3.2xlarge",
    "c3.4xlarge",
    "g2.2xlarge",
    "i2.xlarge",
    "i2.2xlarge",
    "i2.4xlarge",
    "m1.large",
    "m1.xlarge",
    "m2.2xlarge",
    "m2.4xlarge",
    "m3.xlarge",
    "m3.2xlarge",
    "r3.xlarge",
    "r3.2xlarge",
    "r3.4xlarge",
];

/// Checks that a type can be EBS-optimized.
pub(super) fn check_ebs_optimized(instance_type: &str) -> Result<(), ApiError> {
    let family = instance_type
        .split_once('.')
        .map_or("", |(family, _)| family);
    if OLD_FAMILIES.contains(&family) && !OLD_OPTIMIZABLE.contains(&instance_type) {
        Err(ApiError::unsupported_configuration())
    } else {
        Ok(())
    }
}

impl Region {
    /// Whether a launch of the type in the zone is possible at all.
    pub(super) fn offers(&self, faults: &Faults, instance_type: &str, zone: &str) -> bool {
        let types = self.types_not_offered.get(zone);
        let is_excluded = types.is_some_and(|types| types.iter().any(|it| it == instance_type));
        !is_excluded && !faults.excludes(&self.name, instance_type, zone)
    }

    /// # Errors
    /// If the zone does not offer the type. The message names the zones that do.
    pub(super) fn check_offered(
        &self,
        faults: &Faults,
        instance_type: &str,
        zone: &str,
    ) -> Result<(), ApiError> {
        if self.offers(faults, instance_type, zone) {
            return Ok(());
        }
        let mut others: Vec<&str> = self
            .subnets
            .iter()
            .map(|subnet| subnet.zone.as_str())
            .filter(|zone| self.offers(faults, instance_type, zone))
            .collect();
        others.sort_unstable();
        others.dedup();
        if others.is_empty() {
            return Err(ApiError::unsupported_configuration());
        }
        Err(ApiError::client(
            "Unsupported",
            format!(
                "Your requested instance type ({instance_type}) is not supported in your requested \
                 Availability Zone ({zone}). Please retry your request by not specifying an \
                 Availability Zone or choosing {}.",
                others.join(", ")
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_types_without_ebs_optimization_are_refused() {
        for refused in [
            "t2.micro",
            "t1.micro",
            "m1.small",
            "m2.xlarge",
            "m3.large",
            "c3.8xlarge",
        ] {
            let error = check_ebs_optimized(refused).unwrap_err();
            assert_eq!(error.code, "Unsupported", "{refused}");
        }
        for accepted in [
            "t3.micro",
            "m2.2xlarge",
            "m3.xlarge",
            "g4dn.xlarge",
            "u-6tb1.metal",
        ] {
            assert_eq!(check_ebs_optimized(accepted), Ok(()), "{accepted}");
        }
    }
}
