//! Calls that fail, are answered late, wrongly or not at all.

use std::time::Duration;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Faults, fits};
use crate::error::ApiError;
use crate::params::Params;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnCalls {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// An action's name, or the beginning of some with a star behind it: `Describe*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallEffect {
    /// Nothing is done, and the connection is closed without an answer.
    Outage,
    /// Nothing is done, and the answer is this error.
    Error(ErrorCode),
    /// Everything is done, but the connection is closed without an answer.
    Lost,
    /// Everything is done, but the answer comes late.
    DelayMs(u64),
    /// `DescribeInstances` and `DescribeAddresses` show the world of so long ago, in place of the
    /// settings' lag.
    ListingLagMs(u64),
    /// `DescribeInstances` without ids leaves these instances out.
    LeaveOut(Vec<String>),
    /// `DescribeInstances` without ids leaves out so many of those that it would show, the
    /// first launched first.
    LeaveOutOldest(usize),
}

/// The errors that can be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorCode {
    InternalError,
    InternalFailure,
    ServiceUnavailable,
    Unavailable,
    RequestLimitExceeded,
    InsufficientInstanceCapacity,
    InstanceLimitExceeded,
    UnauthorizedOperation,
    /// These four are spot's.
    UnfulfillableCapacity,
    MaxSpotInstanceCountExceeded,
    SpotMaxPriceTooLow,
    #[serde(rename = "AuthFailure.ServiceLinkedRoleCreationNotPermitted")]
    NoServiceLinkedRole,
}

/// What becomes of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallFate {
    pub is_outage: bool,
    pub error: Option<ErrorCode>,
    pub is_lost: bool,
    pub delay: Duration,
    pub listing_lag: Option<Duration>,
    pub hidden: Hidden,
    /// The names of the effects, for the ledger.
    pub struck: Vec<&'static str>,
}

/// Instances that a listing leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    pub ids: Vec<String>,
    pub oldest: usize,
}

impl OnCalls {
    fn applies_to(&self, region: &str, action: &str) -> bool {
        let action_fits = match self.action.as_deref() {
            Some(wanted) => match wanted.strip_suffix('*') {
                Some(beginning) => action.starts_with(beginning),
                None => action == wanted,
            },
            None => true,
        };
        action_fits && fits(self.region.as_deref(), region)
    }
}

impl CallEffect {
    fn name(&self) -> &'static str {
        match self {
            Self::Outage => "outage",
            Self::Error(_) => "error",
            Self::Lost => "lost",
            Self::DelayMs(_) => "delay",
            Self::ListingLagMs(_) => "listing_lag",
            Self::LeaveOut(_) | Self::LeaveOutOldest(_) => "leave_out",
        }
    }

    /// Whether such a call can be struck by it at all.
    fn concerns(&self, action: &str, params: &Params) -> bool {
        let is_listing = action == "DescribeInstances";
        let lags = is_listing || action == "DescribeAddresses";
        match self {
            Self::Outage | Self::Error(_) | Self::Lost | Self::DelayMs(_) => true,
            Self::ListingLagMs(_) => lags,
            Self::LeaveOut(_) | Self::LeaveOutOldest(_) => {
                is_listing && !params.as_map().contains_key("InstanceId.1")
            }
        }
    }
}

impl CallFate {
    fn add(&mut self, effect: &CallEffect) {
        self.struck.push(effect.name());
        match effect {
            CallEffect::Outage => self.is_outage = true,
            CallEffect::Error(code) => self.error = Some(*code),
            CallEffect::Lost => self.is_lost = true,
            CallEffect::DelayMs(ms) => self.delay = Duration::from_millis(*ms),
            CallEffect::ListingLagMs(ms) => self.listing_lag = Some(Duration::from_millis(*ms)),
            CallEffect::LeaveOut(ids) => self.hidden.ids.clone_from(ids),
            CallEffect::LeaveOutOldest(count) => self.hidden.oldest = *count,
        }
    }
}

impl Faults {
    /// Decides what becomes of a call, and uses up what strikes it: of each kind the first fault
    /// that applies, and nothing else in an outage.
    pub fn strike_call(&mut self, region: &str, action: &str, params: &Params) -> CallFate {
        let mut fate = CallFate::default();
        let applying = |fault: &&mut super::Fault<OnCalls, CallEffect>| {
            !fault.is_over()
                && fault.on.applies_to(region, action)
                && fault.effect.concerns(action, params)
        };
        let mut faults: Vec<_> = self.calls.iter_mut().filter(applying).collect();
        // Stable: otherwise in the order in which they were put.
        faults.sort_by_key(|fault| fault.effect != CallEffect::Outage);
        for fault in faults {
            if fate.is_outage || fate.struck.contains(&fault.effect.name()) {
                continue;
            }
            fault.strike();
            fate.add(&fault.effect);
        }
        fate
    }
}

impl From<ErrorCode> for ApiError {
    fn from(code: ErrorCode) -> Self {
        let (status, code, message) = match code {
            ErrorCode::InternalError => (500, "InternalError", "An internal error has occurred"),
            ErrorCode::InternalFailure => {
                (500, "InternalFailure", "The request processing has failed")
            }
            ErrorCode::ServiceUnavailable => (
                503,
                "ServiceUnavailable",
                "The request has failed due to a temporary failure of the server.",
            ),
            ErrorCode::Unavailable => (
                503,
                "Unavailable",
                "The server is overloaded and can't handle the request.",
            ),
            ErrorCode::RequestLimitExceeded => {
                (503, "RequestLimitExceeded", "Request limit exceeded.")
            }
            ErrorCode::InsufficientInstanceCapacity => (
                500,
                "InsufficientInstanceCapacity",
                "There is no capacity available that matches your request.",
            ),
            ErrorCode::InstanceLimitExceeded => (
                400,
                "InstanceLimitExceeded",
                "Your quota allows for 0 more running instance(s).",
            ),
            ErrorCode::UnauthorizedOperation => (
                403,
                "UnauthorizedOperation",
                "You are not authorized to perform this operation.",
            ),
            ErrorCode::UnfulfillableCapacity => (
                500,
                "UnfulfillableCapacity",
                "There is not enough spare capacity to fulfill your request for Spot Instances.",
            ),
            ErrorCode::MaxSpotInstanceCountExceeded => (
                400,
                "MaxSpotInstanceCountExceeded",
                "Max spot instance count exceeded",
            ),
            ErrorCode::SpotMaxPriceTooLow => (
                400,
                "SpotMaxPriceTooLow",
                "Your Spot request price is lower than the minimum required Spot request \
                 fulfillment price.",
            ),
            ErrorCode::NoServiceLinkedRole => (
                403,
                "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
                "The provided credentials do not have permission to create the service-linked \
                 role for EC2 Spot Instances.",
            ),
        };
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code,
            message: message.to_owned(),
        }
    }
}
