//! The actions of EC2's Query API, one file each.
//!
//! A handler reads its parameters, asks the world, and writes the body of the answer. What it
//! does not read is refused by `Call::finish`, so nothing is ignored in silence.

mod addresses;
mod create_tags;
mod describe_images;
mod describe_instances;
mod describe_security_groups;
mod describe_subnets;
mod describe_tags;
mod ids;
mod instance_xml;
mod market_options;
mod metadata_options;
mod run_instances;
mod tags;
mod terminate_instances;

use std::time::Duration;

use crate::clock::UnixMillis;
use crate::error::ApiError;
use crate::faults::Hidden;
use crate::params::Params;
use crate::world::{Region, World};
use crate::xml::Xml;

/// The version of the API that is spoken here, and by every SDK of today.
const VERSION: &str = "2016-11-15";

/// A request, as a handler gets it.
#[derive(Debug)]
pub struct Call<'a> {
    pub world: &'a mut World,
    pub region: &'a str,
    pub now: UnixMillis,
    pub params: Params,
    /// How far a listing is behind the truth.
    pub listing_lag: Duration,
    /// What a listing leaves out.
    pub hidden: Hidden,
}

/// The body of a successful answer.
pub type Answer = Result<Xml, ApiError>;

/// Carries out `action`.
pub fn dispatch(action: &str, mut call: Call<'_>) -> Answer {
    match call.params.optional("Version").as_deref() {
        None | Some(VERSION) => {}
        Some(other) => {
            return Err(ApiError::client(
                "NoSuchVersion",
                format!("The requested version ({other}) of service AmazonEC2 does not exist"),
            ));
        }
    }
    match action {
        "AllocateAddress" => addresses::allocate(call),
        "AssociateAddress" => addresses::associate(call),
        "CreateTags" => create_tags::handle(call),
        "DescribeAddresses" => addresses::describe(call),
        "DescribeImages" => describe_images::handle(call),
        "DescribeInstances" => describe_instances::handle(call),
        "DescribeSecurityGroups" => describe_security_groups::handle(call),
        "DescribeSubnets" => describe_subnets::handle(call),
        "DescribeTags" => describe_tags::handle(call),
        "DisassociateAddress" => addresses::disassociate(call),
        "ReleaseAddress" => addresses::release(call),
        "RunInstances" => run_instances::handle(call),
        "TerminateInstances" => terminate_instances::handle(call),
        _ => Err(ApiError::client(
            "InvalidAction",
            format!("The action {action} is not valid for this web service."),
        )),
    }
}

impl Call<'_> {
    fn region(&self) -> Result<&Region, ApiError> {
        self.world
            .region(self.region)
            .ok_or_else(|| unknown_region(self.region))
    }

    /// The moment whose state a Describe* of instances answers with.
    fn visible_until(&self) -> UnixMillis {
        self.now.before(self.listing_lag)
    }

    /// Ends the reading of parameters: fails if there is one left, and if this is a dry run.
    fn finish(&mut self) -> Result<(), ApiError> {
        let dry_run = self.finish_but_dry_run()?;
        if dry_run {
            Err(ApiError::dry_run())
        } else {
            Ok(())
        }
    }

    /// As [`Call::finish`], for actions that check more before they leave it at a dry run.
    fn finish_but_dry_run(&mut self) -> Result<bool, ApiError> {
        let dry_run = self.params.flag("DryRun")?;
        std::mem::take(&mut self.params).finish()?;
        Ok(dry_run)
    }
}

/// A region that is not in the world is to EC2 one that the account has not enabled.
pub fn unknown_region(name: &str) -> ApiError {
    ApiError::auth_failure(format!("the region {name} is not in the world file"))
}

#[cfg(test)]
mod tests;
