//! The provider of machines: what a pass asks of EC2, in the service's own words.

use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;

use crate::ids::{AddressId, ClientToken, ImageId, InstanceId, RegionName};
use crate::model::{ExternalAddress, LaunchRequest, Machine};
use crate::settings::{AddressTag, Selector};

/// Ids that are terminated in one request, and under one check of the lease.
pub const TERMINATE_BATCH: usize = 100;

/// The tags that every machine of ours carries from its launch call on.
pub mod tags {
    /// Keeps the stages of one account apart.
    pub const STACK: &str = "scaling:stack";
    pub const REGION: &str = "scaling:region";
    pub const LAUNCH: &str = "scaling:launch";
    pub const CLIENT_SHA: &str = "scaling:client-sha";
    pub const IMAGE: &str = "scaling:image";
    /// Slots per instance: an orphan's row needs it.
    pub const CAPACITY: &str = "scaling:capacity";
    pub const NAME: &str = "Name";
}

/// One region's machines.
#[async_trait]
pub trait HostHandler: Send + Sync {
    /// All our machines of this region, in every state. A listing that could not be read to
    /// its end is an error, never a shorter list.
    async fn list(&self) -> Result<Vec<Machine>, HostError>;

    /// The machines that were launched under this token, whatever became of them.
    async fn launched_under(&self, token: &ClientToken) -> Result<Vec<Machine>, HostError>;

    /// Those of `ids` that the provider does not know.
    async fn unknown(&self, ids: &[InstanceId]) -> Result<Vec<InstanceId>, HostError>;

    /// Whether there is such an image to launch from.
    async fn has_image(&self, image: &ImageId) -> Result<bool, HostError>;

    /// The subnets that a selector names, in a stable order.
    async fn subnets(&self, selector: &Selector) -> Result<Vec<String>, HostError>;

    /// The security groups that the selectors name, in a stable order.
    async fn security_groups(&self, selectors: &[Selector]) -> Result<Vec<String>, HostError>;

    /// Launches between one and `request.count` machines, at most once per token.
    async fn launch(
        &self,
        token: &ClientToken,
        request: &LaunchRequest,
    ) -> Result<Vec<Machine>, HostError>;

    /// Terminates machines. One bad id does not spoil the others.
    async fn terminate(&self, ids: &[InstanceId]) -> Vec<(InstanceId, Result<(), HostError>)>;

    /// All Elastic IPs of the account in this region; those with the tag are the pool's.
    async fn addresses(&self, tag: &AddressTag) -> Result<Vec<ExternalAddress>, HostError>;

    /// Has the machine carry an Elastic IP, in one request: whatever happens, somebody carries it
    /// or it is free. One that somebody else carries is moved only if that is `allowed`; without
    /// it, [`HostErrorKind::Invalid`].
    async fn associate(
        &self,
        address: &AddressId,
        to: &InstanceId,
        allowed: Reassociation,
    ) -> Result<(), HostError>;
}

/// Whether an address may be taken from whoever carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reassociation {
    Allowed,
    /// It is believed to be free: if it is not, the belief was wrong.
    Refused,
}

/// Gives each region its handler.
pub trait HostHandlers: Send + Sync {
    fn in_region(&self, region: &RegionName) -> Arc<dyn HostHandler>;
}

/// A failed call, classified by what the caller can do about it.
#[derive(Clone, Debug, Error)]
#[error("{operation}: {message} ({code})")]
pub struct HostError {
    pub kind: HostErrorKind,
    pub operation: &'static str,
    /// The provider's code, for the reader.
    pub code: String,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostErrorKind {
    /// The provider knows no such thing.
    Gone,
    /// No room for this type in this place: another choice may do.
    Capacity,
    /// Ask again later: too many requests, a time-out, a fault of the provider, a lost answer.
    /// Whether it was done is not known.
    Unclear,
    /// The machines that were launched under this token have been terminated since.
    AlreadyTerminated,
    /// The token was used with another request.
    TokenMismatch,
    /// Credentials or permissions.
    Denied,
    /// The request cannot succeed as it is: a setting is wrong.
    Invalid,
    /// The lease would not outlast the call: it was not made.
    LeaseTooShort,
}
