//! The actions of EC2's Query API, one file each.
//!
//! A handler reads its parameters, queries or changes the world, and writes the body of the
//! response. `Call::finish` rejects parameters that the handler did not read, so that a request
//! never loses a parameter unnoticed.

mod addresses;
mod call;
mod create_tags;
mod describe_images;
mod describe_instance_types;
mod describe_instances;
mod describe_regions;
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

pub use call::{ApiResult, Call, unknown_region};

use crate::error::ApiError;

/// The only version of the API that this emulator supports. All current SDKs use it.
const VERSION: &str = "2016-11-15";

/// Executes `action`.
///
/// # Errors
/// EC2's error, also for an action that this emulator does not support.
pub fn dispatch(action: &str, mut call: Call<'_>) -> ApiResult {
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
        "DescribeInstanceTypes" => describe_instance_types::handle(call),
        "DescribeInstances" => describe_instances::handle(call),
        "DescribeRegions" => describe_regions::handle(call),
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

#[cfg(test)]
mod tests;
