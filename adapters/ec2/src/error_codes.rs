//! EC2's error codes, classified in one table.
//!
//! Codes and their meaning: "Error codes for the Amazon EC2 API" in the EC2 developer guide.

use shared::host::HostErrorKind;

/// Codes that mean the same for the service. What is not named here is [`HostErrorKind::Invalid`]
/// when EC2 answered with a client error, and [`HostErrorKind::Unclear`] otherwise.
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
            // Account and subnet limits: another type or subnet may still have room.
            "InstanceLimitExceeded",
            "VcpuLimitExceeded",
            "InsufficientFreeAddressesInSubnet",
            // Spot's own: no spare capacity, the account's limit, a price above that of on-demand
            // (the maximum, unless a request sets one; ours set none).
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

/// What the caller can do about an error that EC2 answered with this code.
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
    fn capacity_asks_another_choice_and_throttling_the_same_one() {
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
    fn where_spot_is_short_another_choice_may_do() {
        for (code, server_fault) in [
            ("UnfulfillableCapacity", true),
            ("MaxSpotInstanceCountExceeded", false),
            ("SpotMaxPriceTooLow", false),
        ] {
            assert_eq!(classify(code, server_fault), HostErrorKind::Capacity);
        }
        // Without spot's service-linked role only spot is denied: on-demand must still be asked.
        assert_eq!(
            classify("AuthFailure.ServiceLinkedRoleCreationNotPermitted", false),
            HostErrorKind::Invalid
        );
    }

    #[test]
    fn an_unknown_code_is_a_wrong_setting_unless_the_server_failed() {
        assert_eq!(
            classify("InvalidAMIID.NotFound", false),
            HostErrorKind::Invalid
        );
        assert_eq!(classify("SomethingNew", true), HostErrorKind::Unclear);
    }

    #[test]
    fn no_code_is_classified_twice() {
        let mut codes: Vec<_> = TABLE.iter().flat_map(|(_, codes)| codes.iter()).collect();
        let all = codes.len();
        codes.sort();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }
}
