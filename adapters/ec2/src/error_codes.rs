//! The classification of EC2's error codes.
//!
//! Their meaning is in "Error codes for the Amazon EC2 API" in the EC2 developer guide.

use shared::host::HostErrorKind;

/// The codes of each kind. A code that is not listed is [`HostErrorKind::Invalid`] if EC2 answered
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
            "InsufficientInstanceCapacity",
            "InsufficientHostCapacity",
            "InsufficientReservedInstanceCapacity",
            "InsufficientCapacity",
            // Limits of the account or subnet: another type or subnet may have capacity.
            "InstanceLimitExceeded",
            "VcpuLimitExceeded",
            "InsufficientFreeAddressesInSubnet",
            // For spot: no spare capacity, the account's limit, or a price above that of on demand,
            // which is the maximum because the service's requests set none.
            "UnfulfillableCapacity",
            "MaxSpotInstanceCountExceeded",
            "SpotMaxPriceTooLow",
        ],
    ),
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
        .find(|(_, codes)| codes.contains(&code))
        .map(|(kind, _)| *kind)
        .unwrap_or(if server_fault {
            HostErrorKind::Unclear
        } else {
            HostErrorKind::Invalid
        })
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
        let mut codes: Vec<_> = TABLE.iter().flat_map(|(_, codes)| codes.iter()).collect();
        let all = codes.len();
        codes.sort();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }
}
