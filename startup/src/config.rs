//! Settings from the environment: read once at start, and typed. An error names its variable.

mod environment;
mod hasura;
mod pass;
mod region;
#[cfg(test)]
mod tests;
mod url;

pub use environment::{
    ConfigError, Environment, ProcessEnvironment, Stage, environment, log_level, or_default,
    required, secret,
};
pub use hasura::{HasuraConfig, hasura};
pub use pass::{PassConfig, RegionsFrom, is_for_replicas_alone};
pub use region::{EnvironmentRegion, environment_region, replica_defaults};
pub use url::check_url;
