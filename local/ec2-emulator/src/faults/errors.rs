//! The errors that can be injected into calls.

use std::borrow::Cow;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::error::{ApiError, UNSUPPORTED_CONFIGURATION};

/// The code of an error: one of those in this file, or any other that begins with `Insufficient`.
///
/// Codes and statuses: <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>.
/// Server codes have a status of 500 or 503.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ErrorCode(Cow<'static, str>);

impl ErrorCode {
    pub const REQUEST_LIMIT_EXCEEDED: Self = Self(Cow::Borrowed("RequestLimitExceeded"));
    pub const UNAVAILABLE: Self = Self(Cow::Borrowed("Unavailable"));
}

fn status_and_message(code: &str) -> Option<(StatusCode, &'static str)> {
    let (status, message) = match code {
        "InternalError" | "ServerInternal" => (500, "An internal error has occurred"),
        "InternalFailure" => (500, "The request processing has failed"),
        "ServiceUnavailable" => (
            503,
            "The request has failed due to a temporary failure of the server.",
        ),
        "Unavailable" => (
            503,
            "The server is overloaded and can't handle the request.",
        ),
        "RequestLimitExceeded" => (503, "Request limit exceeded."),
        "BandwidthLimitExceeded" => (
            500,
            "You've reached the limit on the network bandwidth that is available to an Amazon EC2 \
             instance.",
        ),
        "InsufficientInstanceCapacity" => (
            500,
            "There is no capacity available that matches your request.",
        ),
        "InsufficientVolumeCapacity" => (
            500,
            "There is not enough capacity to fulfill your EBS volume provision request.",
        ),
        "InsufficientAddressCapacity" => (
            500,
            "Not enough available addresses to satisfy your minimum request.",
        ),
        "InsufficientFreeAddressesInSubnet" => (
            400,
            "There are not enough free addresses in the subnet to satisfy the requested number of \
             instances.",
        ),
        "InstanceLimitExceeded" => (400, "Your quota allows for 0 more running instance(s)."),
        "Unsupported" => (400, UNSUPPORTED_CONFIGURATION),
        "UnauthorizedOperation" => (403, "You are not authorized to perform this operation."),
        // The following are errors of spot launches only.
        "UnfulfillableCapacity" => (
            500,
            "There is not enough spare capacity to fulfill your request for Spot Instances.",
        ),
        "MaxSpotInstanceCountExceeded" => (400, "Max spot instance count exceeded"),
        "SpotMaxPriceTooLow" => (
            400,
            "Your Spot request price is lower than the minimum required Spot request fulfillment \
             price.",
        ),
        "AuthFailure.ServiceLinkedRoleCreationNotPermitted" => (
            403,
            "The provided credentials do not have permission to create the service-linked role \
             for EC2 Spot Instances.",
        ),
        other if is_insufficient(other) => {
            (500, "There is not enough capacity to fulfill your request.")
        }
        _ => return None,
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Some((status, message))
}

/// Whether a code has the form of EC2's codes for a lack of something.
fn is_insufficient(code: &str) -> bool {
    code.strip_prefix("Insufficient").is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_uppercase())
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

impl TryFrom<String> for ErrorCode {
    type Error = String;

    fn try_from(code: String) -> Result<Self, String> {
        match status_and_message(&code) {
            Some(_) => Ok(Self(Cow::Owned(code))),
            None => Err(format!(
                "{code:?} is not an error that can be injected; see `faults::ErrorCode`"
            )),
        }
    }
}

impl From<ErrorCode> for String {
    fn from(code: ErrorCode) -> Self {
        code.0.into_owned()
    }
}

impl From<ErrorCode> for ApiError {
    fn from(code: ErrorCode) -> Self {
        let (status, message) = status_and_message(&code.0).unwrap_or((
            StatusCode::INTERNAL_SERVER_ERROR,
            "An internal error has occurred",
        ));
        Self {
            status,
            code: code.0,
            message: message.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str) -> ApiError {
        ErrorCode::try_from(code.to_owned()).unwrap().into()
    }

    #[test]
    fn server_code_has_server_status() {
        for code in [
            "InsufficientVolumeCapacity",
            "InsufficientAddressCapacity",
            "InsufficientInstanceCapacity",
            "InsufficientMoonlight",
            "BandwidthLimitExceeded",
            "ServerInternal",
        ] {
            let error = error(code);
            assert_eq!(error.code, code);
            assert_eq!(error.status, StatusCode::INTERNAL_SERVER_ERROR, "{code}");
        }
        let client = error("InsufficientFreeAddressesInSubnet");
        assert_eq!(client.status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn unknown_code_is_named_in_error() {
        for code in [
            "InternalErorr",
            "Insufficient",
            "Insufficientcapacity",
            "Insufficient Funds",
        ] {
            let error = ErrorCode::try_from(code.to_owned()).unwrap_err();
            assert!(error.contains(code), "{error}");
        }
    }
}
