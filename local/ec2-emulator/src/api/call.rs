//! One request, as the handler of its action gets it.

use std::time::Duration;

use crate::clock::UnixMillis;
use crate::error::ApiError;
use crate::faults::OmittedInstances;
use crate::params::Params;
use crate::world::{Region, World};
use crate::xml::Xml;

#[derive(Debug)]
pub struct Call<'a> {
    pub world: &'a mut World,
    pub region: &'a str,
    pub now: UnixMillis,
    pub params: Params,
    /// How far listings lag behind the current state.
    pub listing_lag: Duration,
    /// The instances that a fault omits from listings.
    pub omitted: OmittedInstances,
}

/// The body of a successful response, or the error.
pub type ApiResult = Result<Xml, ApiError>;

impl Call<'_> {
    pub(super) fn region(&self) -> Result<&Region, ApiError> {
        self.world
            .region(self.region)
            .ok_or_else(|| unknown_region(self.region))
    }

    /// The time whose state a listing shows.
    pub(super) fn visible_until(&self) -> UnixMillis {
        self.now.before(self.listing_lag)
    }

    /// Ends the reading of parameters.
    ///
    /// # Errors
    /// If a parameter was not read, or if the request is a dry run.
    pub(super) fn finish(&mut self) -> Result<(), ApiError> {
        let dry_run = self.finish_except_dry_run()?;
        if dry_run {
            Err(ApiError::dry_run())
        } else {
            Ok(())
        }
    }

    /// As [`Call::finish`], but returns whether the request is a dry run. For actions that check
    /// more before they end a dry run.
    pub(super) fn finish_except_dry_run(&mut self) -> Result<bool, ApiError> {
        let dry_run = self.params.flag("DryRun")?;
        std::mem::take(&mut self.params).finish()?;
        Ok(dry_run)
    }
}

/// The error for a region that is not in the world file. EC2 returns the same code for a region
/// that the account has not enabled.
pub fn unknown_region(name: &str) -> ApiError {
    ApiError::auth_failure(format!("the region {name} is not in the world file"))
}
