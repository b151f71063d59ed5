//! The ports that facts come through. None of them changes anything, except [`Reports::store`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use super::facts::{
    Database, Events, Function, Group, Hasura, Image, InstanceType, KeySet, Stranger, Subnet,
    Table, Topic,
};
use super::report::Report;
use crate::function_token::TokenClaims;
use crate::history::History;
use crate::host::HostError;
use crate::ids::{ImageId, RegionName};
use crate::model::LaunchRequest;

/// Why a fact is not known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProbeError {
    /// The function's role, or the secret, does not allow to look.
    #[error("{0}")]
    Denied(String),
    /// The thing itself is not there.
    #[error("{0}")]
    Missing(String),
    #[error("{0}")]
    Unavailable(String),
}

#[async_trait]
pub trait DatabaseProbe: Send + Sync {
    /// # Errors
    /// [`ProbeError::Missing`] when the database has no function `doctor`, or Hasura does not
    /// expose it.
    async fn database(&self) -> Result<Database, ProbeError>;

    /// The events of the last day by trigger; none where Hasura's log cannot be read.
    async fn events(&self) -> Result<Option<Vec<Events>>, ProbeError>;

    async fn hasura(&self) -> Result<Hasura, ProbeError>;

    /// Reads each table with this token of a host agent.
    async fn as_agent(&self, token: &str) -> Result<Stranger, ProbeError>;
}

#[async_trait]
pub trait TableProbe: Send + Sync {
    async fn table(&self) -> Result<Table, ProbeError>;
}

#[async_trait]
pub trait TopicProbe: Send + Sync {
    async fn topic(&self) -> Result<Topic, ProbeError>;
}

#[async_trait]
pub trait FunctionsProbe: Send + Sync {
    /// All functions of the stack.
    async fn functions(&self) -> Result<Vec<Function>, ProbeError>;
}

#[async_trait]
pub trait KeySetProbe: Send + Sync {
    async fn keys(&self) -> Result<KeySet, ProbeError>;
}

#[async_trait]
pub trait AccountProbe: Send + Sync {
    /// Whether the account has spot's service-linked role.
    async fn has_spot_role(&self) -> Result<bool, ProbeError>;

    /// The value of one of EC2's quotas in a region.
    async fn quota(&self, region: &RegionName, code: &str) -> Result<f64, ProbeError>;
}

/// One region's EC2. All of it is read; the rehearsal is a dry run.
#[async_trait]
pub trait HostProbe: Send + Sync {
    async fn image(&self, id: &ImageId) -> Result<Option<Image>, HostError>;

    /// Those of the types that the region has.
    async fn types(&self, names: &[String]) -> Result<Vec<InstanceType>, HostError>;

    async fn subnets(&self, ids: &[String]) -> Result<Vec<Subnet>, HostError>;

    async fn groups(&self, ids: &[String]) -> Result<Vec<Group>, HostError>;

    /// `RunInstances` with `DryRun`: launches nothing, and says whether it would.
    ///
    /// # Errors
    /// Why it would not.
    async fn rehearse(&self, request: &LaunchRequest) -> Result<(), HostError>;
}

pub trait HostProbes: Send + Sync {
    fn in_region(&self, region: &RegionName) -> Arc<dyn HostProbe>;
}

/// The last report, kept for the status page.
#[async_trait]
pub trait Reports: Send + Sync {
    async fn store(&self, report: &Report) -> Result<(), ProbeError>;

    /// None if there never was one.
    async fn newest(&self) -> Result<Option<Report>, ProbeError>;
}

/// Everything that doctor looks through. What a stack does not have is none.
pub struct Probes {
    pub database: Option<Arc<dyn DatabaseProbe>>,
    pub table: Arc<dyn TableProbe>,
    pub history: Arc<dyn History>,
    pub topic: Option<Arc<dyn TopicProbe>>,
    pub functions: Option<Arc<dyn FunctionsProbe>>,
    /// What the token of `reconcile` for Hasura says about itself; none if it is no token. The
    /// tokens of all functions are made together, and doctor can read no other.
    pub token: Option<TokenClaims>,
    pub keys: Option<Arc<dyn KeySetProbe>>,
    pub account: Arc<dyn AccountProbe>,
    pub hosts: Arc<dyn HostProbes>,
    pub reports: Arc<dyn Reports>,
    /// For one check. Up to three follow each other (the regions, a region's row, what EC2 says),
    /// and must leave time for the answer within the function's timeout.
    pub limit: Duration,
}

impl fmt::Debug for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probes").finish_non_exhaustive()
    }
}
