//! Faults of API calls: errors, late or lost responses, and listings that lag or are incomplete.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::errors::ErrorCode;
use super::fault::{Fault, matches};
use crate::params::Params;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnCalls {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// An action's name, or a prefix followed by a star: `Describe*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallEffect {
    /// The call is not executed, and the connection is closed without a response.
    Outage,
    /// The call is not executed, and no response is sent, but the connection stays open.
    Hang,
    /// The call is not executed, and the response is this error.
    Error(ErrorCode),
    /// The call is executed, but the connection is closed without a response.
    Lost,
    /// The call is executed, but the response is sent late.
    DelayMs(u64),
    /// `DescribeInstances` and `DescribeAddresses` lag by this time instead of the one in the
    /// settings.
    ListingLagMs(u64),
    /// `DescribeInstances` without ids omits these instances.
    LeaveOut(Vec<String>),
    /// `DescribeInstances` without ids omits this number of instances, the oldest ones.
    LeaveOutOldest(usize),
}

/// The combined effects of all faults on one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallEffects {
    pub is_outage: bool,
    pub hangs: bool,
    pub error: Option<ErrorCode>,
    pub is_lost: bool,
    pub delay: Duration,
    pub listing_lag: Option<Duration>,
    pub omitted: OmittedInstances,
    /// The names of the effects, for the ledger.
    pub applied: Vec<&'static str>,
}

/// Instances that a listing omits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OmittedInstances {
    pub ids: Vec<String>,
    /// How many of the oldest instances to omit in addition.
    pub oldest: usize,
}

impl OnCalls {
    fn applies_to(&self, region: &str, action: &str) -> bool {
        let action_matches = match self.action.as_deref() {
            Some(pattern) => match pattern.strip_suffix('*') {
                Some(prefix) => action.starts_with(prefix),
                None => action == pattern,
            },
            None => true,
        };
        action_matches && matches(self.region.as_deref(), region)
    }
}

impl CallEffect {
    fn name(&self) -> &'static str {
        match self {
            Self::Outage => "outage",
            Self::Hang => "hang",
            Self::Error(_) => "error",
            Self::Lost => "lost",
            Self::DelayMs(_) => "delay",
            Self::ListingLagMs(_) => "listing_lag",
            Self::LeaveOut(_) | Self::LeaveOutOldest(_) => "leave_out",
        }
    }

    /// Whether the effect can apply to such a call at all.
    fn can_affect(&self, action: &str, params: &Params) -> bool {
        let is_listing = action == "DescribeInstances";
        let lags = is_listing || action == "DescribeAddresses";
        match self {
            Self::Outage | Self::Hang | Self::Error(_) | Self::Lost | Self::DelayMs(_) => true,
            Self::ListingLagMs(_) => lags,
            Self::LeaveOut(_) | Self::LeaveOutOldest(_) => {
                is_listing && !params.as_map().contains_key("InstanceId.1")
            }
        }
    }
}

impl CallEffects {
    /// The outcome in the ledger of a call that is not executed and has no response.
    pub fn outcome_without_response(&self) -> Option<&'static str> {
        match (self.is_outage, self.hangs) {
            (true, _) => Some("outage"),
            (false, true) => Some("hang"),
            (false, false) => None,
        }
    }

    fn add(&mut self, effect: &CallEffect) {
        self.applied.push(effect.name());
        match effect {
            CallEffect::Outage => self.is_outage = true,
            CallEffect::Hang => self.hangs = true,
            CallEffect::Error(code) => self.error = Some(code.clone()),
            CallEffect::Lost => self.is_lost = true,
            CallEffect::DelayMs(ms) => self.delay = Duration::from_millis(*ms),
            CallEffect::ListingLagMs(ms) => self.listing_lag = Some(Duration::from_millis(*ms)),
            CallEffect::LeaveOut(ids) => self.omitted.ids.clone_from(ids),
            CallEffect::LeaveOutOldest(count) => self.omitted.oldest = *count,
        }
    }
}

/// See [`super::Faults::apply_to_call`].
pub(super) fn apply(
    faults: &mut [Fault<OnCalls, CallEffect>],
    region: &str,
    action: &str,
    params: &Params,
) -> CallEffects {
    let mut effects = CallEffects::default();
    let applying = |fault: &&mut Fault<OnCalls, CallEffect>| {
        !fault.has_ended()
            && fault.on.applies_to(region, action)
            && fault.effect.can_affect(action, params)
    };
    let mut faults: Vec<_> = faults.iter_mut().filter(applying).collect();
    // The exclusive effects first. The sort is stable, so the others stay in the order of the
    // request.
    faults.sort_by_key(|fault| match fault.effect {
        CallEffect::Outage => 0,
        CallEffect::Hang => 1,
        _ => 2,
    });
    for fault in faults {
        if effects.is_outage || effects.hangs || effects.applied.contains(&fault.effect.name()) {
            continue;
        }
        fault.count_application();
        effects.add(&fault.effect);
    }
    effects
}
