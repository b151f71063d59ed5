//! Of the AWS account: spot's role, and the quotas of EC2.

use super::unread;
use crate::doctor::ports::ProbeError;
use crate::doctor::report::Check;

/// `role`: none if no region launches spot instances.
pub fn spot_role(role: Option<&Result<bool, ProbeError>>) -> Check {
    const NAME: &str = "spot-role";
    match role {
        None => Check::ok(NAME, "not needed: no region launches spot instances"),
        Some(Ok(true)) => Check::ok(NAME, "the account has AWSServiceRoleForEC2Spot"),
        Some(Ok(false)) => Check::wrong(
            NAME,
            "the account has no AWSServiceRoleForEC2Spot",
            "Every spot launch fails; the next launch choice is used.",
            "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com",
        ),
        Some(Err(error)) => unread(NAME, error, "iam:GetRole of AWSServiceRoleForEC2Spot"),
    }
}

/// The quotas of EC2 count vCPUs, by family of instance types. On demand, then spot. Source:
/// <https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html>.
const QUOTAS: [(&str, &str, &str); 8] = [
    ("dl", "L-6E869C2A", "L-85EED4F7"),
    ("f", "L-74FC7D96", "L-88CF9481"),
    ("g", "L-DB2E81BA", "L-3819A6DF"),
    ("inf", "L-1945791B", "L-B5D1601B"),
    ("p", "L-417A185B", "L-7212CCBC"),
    ("trn", "L-2C3B7624", "L-6B0D517C"),
    ("vt", "L-DB2E81BA", "L-3819A6DF"),
    ("x", "L-7295265B", "L-E3A00192"),
];
/// A, C, D, H, I, M, R, T and Z share one.
const STANDARD: (&str, &str) = ("L-1216C47A", "L-34B43A08");

/// The code of the quota that an instance type counts against; none for those with a quota of
/// another kind (`u-…`, `mac…`, `hpc…`).
pub fn quota_code(instance_type: &str, spot: bool) -> Option<&'static str> {
    let family = instance_type.split('.').next().unwrap_or_default();
    let letters: &str = family
        .split(|c: char| !c.is_ascii_lowercase())
        .next()
        .unwrap_or_default();
    let pick =
        |on_demand: &'static str, of_spot: &'static str| if spot { of_spot } else { on_demand };
    if let Some((_, on_demand, of_spot)) = QUOTAS.iter().find(|(name, ..)| *name == letters) {
        return Some(pick(on_demand, of_spot));
    }
    let standard = ["a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"];
    standard
        .contains(&letters)
        .then(|| pick(STANDARD.0, STANDARD.1))
}

/// Whether the region's maximum fits into the account's quota. `vcpus` are those of one instance
/// of the first choice; `value` is the quota's, none if there is none for this type.
pub fn quota(
    machine: &str,
    max_instances: u32,
    vcpus: Option<u32>,
    value: Option<&Result<f64, ProbeError>>,
) -> Check {
    const NAME: &str = "quota";
    let (Some(vcpus), Some(value)) = (vcpus, value) else {
        return Check::warning(
            NAME,
            format!("not checked: the quota of {machine} is not known"),
            "EC2 may refuse launches before `max_instances` is reached.",
            "Compare the quota in the console of Service Quotas with `max_instances`.",
        );
    };
    let value = match value {
        Ok(value) => *value,
        Err(error) => return unread(NAME, error, "servicequotas:GetServiceQuota"),
    };
    let needed = f64::from(vcpus) * f64::from(max_instances);
    if needed <= value {
        return Check::ok(
            NAME,
            format!("{max_instances} {machine} need {needed} vCPUs, the account may have {value}"),
        );
    }
    Check::warning(
        NAME,
        format!(
            "{max_instances} {machine} need {needed} vCPUs, the account may have {value} in this \
             region, for everything"
        ),
        "EC2 refuses launches (VcpuLimitExceeded) before `max_instances` is reached.",
        "Request a larger quota (`aws service-quotas request-service-quota-increase`), or lower \
         `max_instances`.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_has_the_quota_of_its_family() {
        for (instance_type, spot, code) in [
            ("m6i.large", false, Some("L-1216C47A")),
            ("t3.micro", true, Some("L-34B43A08")),
            ("im4gn.large", false, Some("L-1216C47A")),
            ("g5.xlarge", false, Some("L-DB2E81BA")),
            ("g4dn.xlarge", true, Some("L-3819A6DF")),
            ("p4d.24xlarge", false, Some("L-417A185B")),
            ("inf2.xlarge", false, Some("L-1945791B")),
            ("x2gd.large", true, Some("L-E3A00192")),
            ("u-6tb1.metal", false, None),
            ("mac2.metal", false, None),
            ("", false, None),
        ] {
            assert_eq!(quota_code(instance_type, spot), code, "{instance_type}");
        }
    }
}
