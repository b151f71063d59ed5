//! `InstanceMarketOptions` of a launch: one-time spot requests whose instances are terminated on
//! interruption.
//!
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SpotMarketOptions.html>
//!
//! Combinations that EC2 rejects get EC2's error. Options that are not emulated (persistent
//! requests, a maximum price, capacity blocks) get an error of this emulator.

use crate::error::ApiError;
use crate::market::Market;
use crate::params::Params;

pub(super) fn take(params: &mut Params) -> Result<Market, ApiError> {
    let mut options = params.structure("InstanceMarketOptions");
    let mut spot = options.structure("SpotOptions");
    let has_spot_options = !spot.as_map().is_empty();
    let market = match options.optional("MarketType").as_deref() {
        None if has_spot_options => {
            return Err(ApiError::missing_parameter(
                "InstanceMarketOptions.MarketType",
            ));
        }
        None => Market::OnDemand,
        Some("spot") => Market::Spot,
        Some(other) => {
            return Err(ApiError::invalid_value(
                "instanceMarketOptions.marketType",
                other,
                "Expecting \"spot\" (the only market type of this emulator).",
            ));
        }
    };
    let persistent = match spot.optional("SpotInstanceType").as_deref() {
        None | Some("one-time") => false,
        Some("persistent") => true,
        Some(other) => {
            return Err(ApiError::invalid_value(
                "spotInstanceType",
                other,
                "Expecting \"one-time\" or \"persistent\".",
            ));
        }
    };
    let behavior = spot
        .optional("InstanceInterruptionBehavior")
        .unwrap_or_else(|| "terminate".to_owned());
    check_behavior(persistent, &behavior)?;
    spot.finish()?;
    options.finish()?;
    Ok(market)
}

fn check_behavior(persistent: bool, behavior: &str) -> Result<(), ApiError> {
    match (persistent, behavior) {
        (false, "terminate") => Ok(()),
        (true, "terminate") => Err(ApiError::invalid_combination(
            "The terminate InstanceInterruptionBehavior is not supported when requestType is set \
             to persistent.",
        )),
        (false, "stop") => Err(ApiError::invalid_combination(
            "The request with type 'one-time' is not supported when instanceInterruptionBehavior \
             is set to 'stop'.",
        )),
        (true, "stop") | (_, "hibernate") => Err(ApiError::client(
            "UnsupportedOperation",
            "Spot requests that restart an instance are not supported (by this emulator).",
        )),
        (_, other) => Err(ApiError::invalid_value(
            "instanceInterruptionBehavior",
            other,
            "Expecting \"hibernate\", \"stop\" or \"terminate\".",
        )),
    }
}
