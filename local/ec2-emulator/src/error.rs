//! The errors of EC2's API: an HTTP status, a code and a message, in EC2's words.
//!
//! Codes and statuses: <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>.

use std::borrow::Cow;

use axum::http::StatusCode;

/// The message of `Unsupported` for what no zone supports.
pub(crate) const UNSUPPORTED_CONFIGURATION: &str = "The requested configuration is currently not \
     supported. Please check the documentation for supported configurations.";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    pub status: StatusCode,
    pub code: Cow<'static, str>,
    pub message: String,
}

impl ApiError {
    /// An error in the request: status 400.
    pub fn client(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: code.into(),
            message: message.into(),
        }
    }

    /// EC2 reports a lack of capacity with status 500, so the SDKs retry it by default.
    pub fn insufficient_capacity(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: "InsufficientInstanceCapacity".into(),
            message: message.into(),
        }
    }

    pub fn unsupported_configuration() -> Self {
        Self::client("Unsupported", UNSUPPORTED_CONFIGURATION)
    }

    pub fn auth_failure(reason: impl std::fmt::Display) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            code: "AuthFailure".into(),
            message: format!(
                "AWS was not able to validate the provided access credentials: {reason}"
            ),
        }
    }

    /// The response to a dry run whose request would have succeeded.
    pub fn dry_run() -> Self {
        Self {
            status: StatusCode::PRECONDITION_FAILED,
            code: "DryRunOperation".into(),
            message: "Request would have succeeded, but DryRun flag is set.".into(),
        }
    }

    pub fn missing_parameter(name: &str) -> Self {
        Self::client(
            "MissingParameter",
            format!("The request must contain the parameter {name}"),
        )
    }

    pub fn invalid_value(parameter: &str, value: &str, expected: &str) -> Self {
        Self::client(
            "InvalidParameterValue",
            format!("Value ({value}) for parameter {parameter} is invalid. {expected}"),
        )
    }

    pub fn invalid_combination(message: impl Into<String>) -> Self {
        Self::client("InvalidParameterCombination", message)
    }
}
