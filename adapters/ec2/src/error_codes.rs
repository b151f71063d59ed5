//! The classification of EC2's error codes.
//!
//! Their meaning is in "Error codes for the Amazon EC2 API" in the EC2 developer guide. Its table
//! "Server error codes" has those that EC2 answers with status 5xx.

use shared::host::HostErrorKind;

/// The codes of each kind. A code that ends with `*` stands for all that begin like it. A code that
/// is not listed is [`HostErrorKind::Invalid`] if EC2 answered
/// with a client error, and [`HostErrorKind::Unclear`] otherwise.
const TABLE: &[(HostErrorKind, &[&str])] = &[
    (
        HostErrorKind::Gone,
        &[
            "InvalidInstanceID.NotFound",
            "InvalidInstanceID",
            "InvalidInstanceID.Malformed",
            "InvalidAllocationID.NotFound",
        ],
    ),
    (
        HostErrorKind::Capacity,
        &[
            // Instances, volumes, hosts, addresses, and what EC2 will run out of in the future.
            "Insufficient*",
            // Limits of the account or zone: another type or subnet may have capacity.
            "InstanceLimitExceeded",
            "VcpuLimitExceeded",
            "BandwidthLimitExceeded",
            // For spot: no spare capacity, the account's limit, or a price above that of on demand,
            // which is the maximum because the service's requests set none.
            "UnfulfillableCapacity",
            "MaxSpotInstanceCountExceeded",
            "SpotMaxPriceTooLow",
        ],
    ),
    // The zone does not offer the instance type.
    (HostErrorKind::NotOffered, &["Unsupported"]),
    (
        HostErrorKind::Unclear,
        &[
            "RequestLimitExceeded",
            "Throttling",
            "ThrottlingException",
            "RequestThrottled",
            "InternalError",
            "InternalFailure",
            "ServerInternal",
            "ServiceUnavailable",
            "Unavailable",
            "RequestExpired",
        ],
    ),
    (
        HostErrorKind::AlreadyTerminated,
        &["IdempotentInstanceTerminated"],
    ),
    (
        HostErrorKind::TokenMismatch,
        &["IdempotentParameterMismatch"],
    ),
    (
        HostErrorKind::Denied,
        &[
            "UnauthorizedOperation",
            "AuthFailure",
            "AccessDenied",
            "InvalidClientTokenId",
            "SignatureDoesNotMatch",
            "OptInRequired",
            "PendingVerification",
            "Blocked",
        ],
    ),
];

/// The kind of an error that EC2 answered with this code. `server_fault`: the HTTP status was 5xx.
pub(crate) fn classify(code: &str, server_fault: bool) -> HostErrorKind {
    TABLE
        .iter()
        .find(|(_, codes)| codes.iter().any(|known| matches(known, code)))
        .map(|(kind, _)| *kind)
        .unwrap_or(if server_fault {
            HostErrorKind::Unclear
        } else {
            HostErrorKind::Invalid
        })
}

fn matches(known: &str, code: &str) -> bool {
    match known.strip_suffix('*') {
        Some(beginning) => code.starts_with(beginning),
        None => known == code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insufficient_capacity_and_throttling_are_different_kinds() {
        assert_eq!(
            classify("InsufficientInstanceCapacity", true),
            HostErrorKind::Capacity
        );
        assert_eq!(
            classify("RequestLimitExceeded", false),
            HostErrorKind::Unclear
        );
    }

    #[test]
    fn every_lack_of_something_is_capacity_whatever_the_status() {
        for code in [
            "InsufficientInstanceCapacity",
            "InsufficientVolumeCapacity",
            "InsufficientAddressCapacity",
            "InsufficientFreeAddressesInSubnet",
            "InsufficientCapacityOnOutpost",
            "InsufficientSomethingNew",
            "BandwidthLimitExceeded",
        ] {
            for server_fault in [false, true] {
                let kind = classify(code, server_fault);
                assert_eq!(kind, HostErrorKind::Capacity, "{code}, {server_fault}");
            }
        }
    }

    #[test]
    fn type_that_the_zone_does_not_offer_is_not_a_wrong_setting() {
        assert_eq!(classify("Unsupported", false), HostErrorKind::NotOffered);
        assert_eq!(
            classify("UnsupportedOperation", false),
            HostErrorKind::Invalid
        );
    }

    #[test]
    fn codes_of_spot_capacity_are_capacity() {
        for (code, server_fault) in [
            ("UnfulfillableCapacity", true),
            ("MaxSpotInstanceCountExceeded", false),
            ("SpotMaxPriceTooLow", false),
        ] {
            assert_eq!(classify(code, server_fault), HostErrorKind::Capacity);
        }
        // Without the service-linked role, only spot is denied: on demand must still be tried.
        assert_eq!(
            classify("AuthFailure.ServiceLinkedRoleCreationNotPermitted", false),
            HostErrorKind::Invalid
        );
    }

    #[test]
    fn unknown_code_is_invalid_for_4xx_and_unclear_for_5xx() {
        assert_eq!(
            classify("InvalidAMIID.NotFound", false),
            HostErrorKind::Invalid
        );
        assert_eq!(classify("SomethingNew", true), HostErrorKind::Unclear);
    }

    #[test]
    fn every_code_has_one_kind() {
        let codes: Vec<_> = TABLE.iter().flat_map(|(_, codes)| *codes).collect();
        for code in &codes {
            let same = codes.iter().filter(|known| matches(known, code));
            assert_eq!(same.count(), 1, "{code}");
        }
    }
}
