//! Settings of the functions that run passes.

use std::time::Duration;

use shared::lock::CLOCK_MARGIN;
use shared::pass::PassLimits;
use shared::settings::Columns;

use super::environment::{ConfigError, Environment, environment, or_default, required};
use super::hasura::HasuraConfig;
use super::region::{EnvironmentRegion, environment_region, replica_defaults};

/// The settings of the functions that run passes.
#[derive(Clone, Debug)]
pub struct PassConfig {
    /// Separates the stacks of one account: the value of the tag `scaling:stack`.
    pub stack_id: String,
    /// The environment whose app version says which client users should run.
    pub environment: String,
    /// The DynamoDB table.
    pub table: String,
    pub regions: RegionsFrom,
    /// The values that apply where the row of a region of replicas has null.
    pub replica_defaults: Columns,
    /// The certificate, in PEM, of an authority that is trusted for replicas' certificates.
    pub replica_authority: Option<String>,
    pub alert_topic_arn: Option<String>,
    /// The ARN of the function that regions are handed over to; of a stack of replicas alone, its name.
    pub reconcile_function: String,
    pub limits: PassLimits,
    /// Where the identity provider publishes its keys: only `doctor` looks at them.
    pub jwks_url: Option<String>,
    /// Whether stray instances are searched for in the account's other regions.
    pub searches_strays: bool,
}

/// Where the stack's regions are configured.
#[derive(Clone, Debug)]
pub enum RegionsFrom {
    Hasura(HasuraConfig),
    /// In the environment, as in SimpleScaleVM: one region of replicas, without Hasura.
    Environment(Box<EnvironmentRegion>),
}

impl PassConfig {
    /// Reads the settings.
    ///
    /// # Errors
    /// Names the first variable that is missing or invalid.
    pub fn from_env(env: &dyn Environment) -> Result<Self, ConfigError> {
        let seconds = "a whole number of seconds";
        let budget = or_default(env, "PASS_BUDGET_SECONDS", seconds, 40)?;
        let lease = or_default(env, "LEASE_SECONDS", seconds, 50)?;
        let ec2_call = or_default(env, "EC2_CALL_SECONDS", seconds, 8)?;
        // A step that begins at the end of the budget must be able to call EC2 within the lease.
        let margin = CLOCK_MARGIN.as_secs().unsigned_abs();
        if ec2_call == 0 || lease < budget + ec2_call + margin {
            return Err(ConfigError::Invalid {
                name: "LEASE_SECONDS",
                value: lease.to_string(),
                expected: "PASS_BUDGET_SECONDS + EC2_CALL_SECONDS (1 or more) + 2 or more, below \
                           the function's timeout",
            });
        }
        let replica_defaults = replica_defaults(env)?;
        // If neither is configured, the error names Hasura's variables, which the usual stack
        // needs.
        let regions = if is_for_replicas_alone(env) {
            let region = environment_region(env)?;
            RegionsFrom::Environment(Box::new(region))
        } else {
            RegionsFrom::Hasura(HasuraConfig::from_env(env)?)
        };
        Ok(Self {
            stack_id: required(env, "STACK_ID")?,
            environment: environment(env)?,
            table: required(env, "SCALING_TABLE")?,
            regions,
            replica_defaults,
            replica_authority: env.get("REPLICA_API_AUTHORITY"),
            alert_topic_arn: env.get("ALERT_TOPIC_ARN"),
            reconcile_function: required(env, "RECONCILE_FUNCTION_NAME")?,
            limits: PassLimits {
                budget: Duration::from_secs(budget),
                lease: Duration::from_secs(lease),
                ec2_call: Duration::from_secs(ec2_call),
            },
            jwks_url: env.get("JWKS_URL"),
            searches_strays: or_default(env, "SEARCH_STRAYS", "true or false", false)?,
        })
    }
}

/// Whether the stack has no Hasura, and one region of replicas in its environment.
pub fn is_for_replicas_alone(env: &dyn Environment) -> bool {
    env.get("HASURA_URL").is_none() && env.get("REPLICA_REGION").is_some()
}
