//! The port of the machines' provider, EC2.

use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;

use crate::ids::{AddressId, ClientToken, ImageId, InstanceId, LaunchId, RegionName};
use crate::model::{ExternalAddress, LaunchRequest, Machine};
use crate::settings::{AddressTag, Selector};

/// The most ids in one termination request. The lease is checked before each request.
pub const TERMINATE_BATCH: usize = 100;

/// The tags of the service's machines, all set in the launch call.
pub mod tags {
    /// Separates the stacks of one account.
    pub const STACK: &str = "scaling:stack";
    pub const REGION: &str = "scaling:region";
    pub const LAUNCH: &str = "scaling:launch";
    pub const CLIENT_SHA: &str = "scaling:client-sha";
    pub const IMAGE: &str = "scaling:image";
    /// Slots per instance. The row of an orphan takes it from here.
    pub const CAPACITY: &str = "scaling:capacity";
    /// The subnet of the launch, because a terminated instance has none.
    pub const SUBNET: &str = "scaling:subnet";
    /// What EC2's console shows in its first column.
    pub const NAME: &str = "Name";
}

/// One region's machines.
#[async_trait]
pub trait HostHandler: Send + Sync {
    /// All of the stack's machines in this region, in every state. A listing that cannot be read
    /// completely is an error, never a shorter list.
    async fn list(&self) -> Result<Vec<Machine>, HostError>;

    /// The machines of this launch, in every state. They are found by the tag [`tags::LAUNCH`],
    /// because EC2 does not document that it finds spot instances by their client token.
    async fn launched_under(&self, launch: &LaunchId) -> Result<Vec<Machine>, HostError>;

    /// Those of `ids` that are gone for good: the provider does not know them, or lists them as
    /// terminated. A terminated machine loses its tags, and thereby its place in [`Self::list`],
    /// before its id is forgotten.
    async fn gone(&self, ids: &[InstanceId]) -> Result<Vec<InstanceId>, HostError>;

    /// Whether the image exists and can be launched.
    async fn has_image(&self, image: &ImageId) -> Result<bool, HostError>;

    /// The ids of the subnets that a selector matches, in a stable order.
    async fn subnets(&self, selector: &Selector) -> Result<Vec<String>, HostError>;

    /// The ids of the security groups that the selectors match, in a stable order.
    async fn security_groups(&self, selectors: &[Selector]) -> Result<Vec<String>, HostError>;

    /// Launches between one and `request.count` machines, at most once per token.
    async fn launch(
        &self,
        token: &ClientToken,
        request: &LaunchRequest,
    ) -> Result<Vec<Machine>, HostError>;

    /// Terminates machines, with a result for each. An invalid id does not affect the others.
    async fn terminate(&self, ids: &[InstanceId]) -> Vec<(InstanceId, Result<(), HostError>)>;

    /// All Elastic IPs of the account in this region. Those with the tag are the pool.
    async fn addresses(&self, tag: &AddressTag) -> Result<Vec<ExternalAddress>, HostError>;

    /// Associates an Elastic IP with a machine, in one request, so that a failure leaves it where
    /// it was. If another machine has it, it is moved only if `allowed` says so, and otherwise
    /// fails with [`HostErrorKind::Invalid`].
    async fn associate(
        &self,
        address: &AddressId,
        to: &InstanceId,
        allowed: Reassociation,
    ) -> Result<(), HostError>;
}

/// Whether an address may be taken from the machine that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reassociation {
    Allowed,
    /// The address was observed as free: if it is not, the observation was stale.
    Refused,
}

/// The handler of each region.
pub trait HostHandlers: Send + Sync {
    fn in_region(&self, region: &RegionName) -> Arc<dyn HostHandler>;
}

/// The regions of the provider's account.
#[async_trait]
pub trait AccountRegions: Send + Sync {
    /// The regions that are enabled for the account, whether or not the service uses them.
    async fn enabled_regions(&self) -> Result<Vec<RegionName>, HostError>;
}

/// A failed call, classified by what the caller can do about it.
#[derive(Clone, Debug, Error)]
#[error("{operation}: {message} ({code})")]
pub struct HostError {
    pub kind: HostErrorKind,
    pub operation: &'static str,
    /// The provider's error code, for operators.
    pub code: String,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostErrorKind {
    /// The provider does not know the id.
    Gone,
    /// No capacity for this type in this subnet: another launch choice may succeed.
    Capacity,
    /// The type is not offered in this subnet's zone: as no capacity, for longer.
    NotOffered,
    /// Throttled, timed out, a fault of the provider, or a lost answer: the request may have taken
    /// effect, and may be repeated.
    Unclear,
    /// The machines that were launched under this token have been terminated.
    AlreadyTerminated,
    /// The token was used with another request.
    TokenMismatch,
    /// Credentials or permissions are wrong.
    Denied,
    /// The request cannot succeed: a setting is wrong.
    Invalid,
    /// The request was not sent: the lease might end before the call does.
    LeaseTooShort,
}
