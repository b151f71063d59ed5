//! Settings from the environment, read once at start, typed; an error names its variable.

mod region;

use std::env::VarError;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use hasura_adapter::HasuraSettings;
use shared::lock::CLOCK_MARGIN;
use shared::pass::PassLimits;
use shared::settings::Columns;

pub use region::{EnvironmentRegion, environment_region, replica_defaults};

#[derive(Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    #[error("set the environment variable {0}")]
    Missing(&'static str),
    #[error("the environment variable {name} is {value:?}: it must be {expected}")]
    Invalid {
        name: &'static str,
        value: String,
        expected: &'static str,
    },
    #[error("the environment variable {name}: {problem}")]
    BadSetting { name: &'static str, problem: String },
}

impl ConfigError {
    /// A variable whose value is not what is expected.
    pub fn invalid(name: &'static str, value: String, expected: &'static str) -> Self {
        Self::Invalid {
            name,
            value,
            expected,
        }
    }
}

/// Where variables come from; tests bring their own.
pub trait Environment {
    fn get(&self, name: &'static str) -> Option<String>;
}

/// The process's own environment. An empty value counts as not set: CloudFormation cannot
/// leave a variable out.
#[derive(Clone, Copy, Debug)]
pub struct ProcessEnvironment;

/// Settings as a test writes them down.
impl Environment for std::collections::HashMap<&'static str, &'static str> {
    fn get(&self, name: &'static str) -> Option<String> {
        std::collections::HashMap::get(self, name).map(ToString::to_string)
    }
}

impl Environment for ProcessEnvironment {
    #[expect(clippy::disallowed_methods, reason = "this is the home of settings")]
    fn get(&self, name: &'static str) -> Option<String> {
        match std::env::var(name) {
            Ok(value) if !value.is_empty() => Some(value),
            Ok(_) | Err(VarError::NotPresent) => None,
            Err(VarError::NotUnicode(value)) => Some(value.to_string_lossy().into_owned()),
        }
    }
}

/// A required text.
///
/// # Errors
/// When it is not set.
pub fn required(env: &dyn Environment, name: &'static str) -> Result<String, ConfigError> {
    env.get(name).ok_or(ConfigError::Missing(name))
}

/// A value with a default.
///
/// # Errors
/// When it is set and cannot be read.
pub fn or_default<T: FromStr>(
    env: &dyn Environment,
    name: &'static str,
    expected: &'static str,
    default: T,
) -> Result<T, ConfigError> {
    match env.get(name) {
        None => Ok(default),
        Some(value) => value
            .parse()
            .map_err(|_| ConfigError::invalid(name, value, expected)),
    }
}

/// Hasura's address and secret, as every function needs them.
///
/// # Errors
/// When one is missing or the address is no HTTP URL.
pub fn hasura(env: &dyn Environment, timeout: Duration) -> Result<HasuraSettings, ConfigError> {
    Ok(HasuraSettings {
        url: http_url("HASURA_URL", required(env, "HASURA_URL")?)?,
        admin_secret: SecretString::from(required(env, "HASURA_ADMIN_SECRET")?),
        timeout,
    })
}

fn http_url(name: &'static str, value: String) -> Result<String, ConfigError> {
    let expected = "an http:// or https:// URL without /v1/graphql";
    let is_url = value.starts_with("http://") || value.starts_with("https://");
    if is_url && !value.trim_end_matches('/').ends_with("/v1/graphql") {
        Ok(value.trim_end_matches('/').to_owned())
    } else {
        Err(ConfigError::invalid(name, value, expected))
    }
}

/// Whether a stack has no Hasura, and one region of replicas in its environment.
pub fn is_for_replicas_alone(env: &dyn Environment) -> bool {
    env.get("HASURA_URL").is_none() && env.get("REPLICA_REGION").is_some()
}

/// `LOG_LEVEL`, a `tracing` filter.
pub fn log_level(env: &dyn Environment) -> String {
    env.get("LOG_LEVEL").unwrap_or_else(|| "info".to_owned())
}

/// What the functions that run passes are set to.
#[derive(Clone, Debug)]
pub struct PassConfig {
    /// Keeps the stages of one account apart: the value of the tag `scaling:stack`.
    pub stack_id: String,
    /// Whose app version says what clients should run.
    pub environment: String,
    pub table: String,
    pub regions: RegionsFrom,
    /// What applies where the row of a replicas' region has null.
    pub replica_defaults: Columns,
    /// An authority that replicas' certificates are trusted by, in PEM.
    pub replica_authority: Option<String>,
    pub alert_topic_arn: Option<String>,
    /// The function that a pass is handed over to.
    pub reconcile_function: String,
    pub limits: PassLimits,
}

/// Where the regions are that a stack looks after.
#[derive(Clone, Debug)]
pub enum RegionsFrom {
    Hasura(HasuraConfig),
    /// A stack for replicas alone: SimpleScaleVM's way.
    Environment(Box<EnvironmentRegion>),
}

/// Hasura, for the functions and for host agents.
#[derive(Clone, Debug)]
pub struct HasuraConfig {
    pub hasura: HasuraSettings,
    pub agent_hasura_url: String,
    pub agent_token_key: SecretString,
    pub agent_token_valid: SignedDuration,
}

/// HS256 with a shorter key is weaker than its hash; Hasura refuses it, too.
const MIN_KEY_BYTES: usize = 32;

impl PassConfig {
    /// # Errors
    /// Names the first variable that is missing or wrong.
    pub fn from_env(env: &dyn Environment) -> Result<Self, ConfigError> {
        let seconds = "a whole number of seconds";
        let budget = or_default(env, "PASS_BUDGET_SECONDS", seconds, 40)?;
        let lease = or_default(env, "LEASE_SECONDS", seconds, 50)?;
        let ec2_call = or_default(env, "EC2_CALL_SECONDS", seconds, 8)?;
        // A step that is begun at the end of the budget may still call EC2 within the lease.
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
        // Without Hasura there are replicas alone. Whoever wants neither is told what to set for
        // the usual stack.
        let regions = if is_for_replicas_alone(env) {
            let region = environment_region(env)?;
            RegionsFrom::Environment(Box::new(region))
        } else {
            RegionsFrom::Hasura(HasuraConfig::from_env(env)?)
        };
        Ok(Self {
            stack_id: required(env, "STACK_ID")?,
            environment: required(env, "ENVIRONMENT")?,
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
        })
    }
}

impl HasuraConfig {
    fn from_env(env: &dyn Environment) -> Result<Self, ConfigError> {
        let hasura = hasura(env, Duration::from_secs(10))?;
        let agent_hasura_url = match env.get("AGENT_HASURA_URL") {
            Some(url) => http_url("AGENT_HASURA_URL", url)?,
            None => hasura.url.clone(),
        };
        let days_expected = "a whole number of days, 1 to 3650";
        let days = or_default(env, "AGENT_TOKEN_DAYS", days_expected, 30u32)?;
        if !(1..=3650).contains(&days) {
            let value = days.to_string();
            let name = "AGENT_TOKEN_DAYS";
            return Err(ConfigError::Invalid {
                name,
                value,
                expected: days_expected,
            });
        }
        let agent_token_key = SecretString::from(required(env, "HASURA_JWT_KEY")?);
        if agent_token_key.expose_secret().len() < MIN_KEY_BYTES {
            return Err(ConfigError::Invalid {
                name: "HASURA_JWT_KEY",
                value: "(secret)".to_owned(),
                expected: "at least 32 bytes, as in HASURA_GRAPHQL_JWT_SECRET",
            });
        }
        Ok(Self {
            hasura,
            agent_hasura_url,
            agent_token_key,
            agent_token_valid: SignedDuration::from_hours(i64::from(days) * 24),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn complete() -> HashMap<&'static str, &'static str> {
        HashMap::from([
            ("STACK_ID", "prod"),
            ("ENVIRONMENT", "prod"),
            ("SCALING_TABLE", "scaling"),
            ("HASURA_URL", "https://hasura.example/"),
            ("HASURA_ADMIN_SECRET", "secret"),
            ("HASURA_JWT_KEY", "0123456789abcdef0123456789abcdef"),
            ("RECONCILE_FUNCTION_NAME", "prod-reconcile"),
        ])
    }

    #[test]
    fn what_is_not_set_has_its_documented_default() {
        let config = PassConfig::from_env(&complete()).unwrap();
        assert_eq!(config.limits.budget, Duration::from_secs(40));
        assert_eq!(config.limits.lease, Duration::from_secs(50));
        let RegionsFrom::Hasura(hasura) = config.regions else {
            panic!("Hasura is set")
        };
        assert_eq!(hasura.agent_hasura_url, "https://hasura.example");
        assert_eq!(config.alert_topic_arn, None);
    }

    #[test]
    fn each_missing_variable_is_named() {
        for name in complete().keys() {
            let mut env = complete();
            env.remove(name);
            assert_eq!(
                PassConfig::from_env(&env).unwrap_err(),
                ConfigError::Missing(name)
            );
        }
    }

    #[test]
    fn a_lease_that_leaves_no_time_for_a_last_call_is_refused() {
        let mut env = complete();
        env.insert("LEASE_SECONDS", "49");
        let error = PassConfig::from_env(&env).unwrap_err();
        assert!(error.to_string().contains("LEASE_SECONDS"), "{error}");
        env.insert("EC2_CALL_SECONDS", "7");
        assert!(PassConfig::from_env(&env).is_ok(), "calls end sooner");
        env.insert("EC2_CALL_SECONDS", "0");
        assert!(PassConfig::from_env(&env).is_err());
    }

    #[test]
    fn a_wrong_value_is_shown_with_what_it_must_be_but_a_secret_is_not() {
        let mut env = complete();
        env.insert("PASS_BUDGET_SECONDS", "soon");
        let error = PassConfig::from_env(&env).unwrap_err().to_string();
        assert!(
            error.contains("PASS_BUDGET_SECONDS") && error.contains("soon"),
            "{error}"
        );
        let mut env = complete();
        env.insert("HASURA_JWT_KEY", "short-secret");
        let error = PassConfig::from_env(&env).unwrap_err().to_string();
        assert!(!error.contains("short-secret"), "{error}");
    }

    fn replicas_alone() -> HashMap<&'static str, &'static str> {
        HashMap::from([
            ("STACK_ID", "replicas"),
            ("ENVIRONMENT", "prod"),
            ("SCALING_TABLE", "scaling"),
            ("RECONCILE_FUNCTION_NAME", "replicas-reconcile"),
            ("REPLICA_REGION", "us-east-1"),
            ("REPLICA_IMAGE", "ami-01000000000000001"),
            (
                "REPLICA_LAUNCH_CHOICES",
                r#"[{"instance_type":"m6i.large","subnet_id":"subnet-1"}]"#,
            ),
        ])
    }

    #[test]
    fn replicas_need_no_hasura_and_have_the_defaults_of_simplescalevm() {
        let config = PassConfig::from_env(&replicas_alone()).unwrap();
        let RegionsFrom::Environment(region) = config.regions else {
            panic!("there is no Hasura")
        };
        let settings = region.settings;
        assert_eq!(settings.algorithm, shared::settings::REPLICA);
        assert_eq!(settings.max_instances, u32::MAX);
        assert_eq!(settings.launch_choices[0].capacity, 1);
        let replicas = settings.replicas;
        assert_eq!((replicas.capacity, replicas.min_available), (1, 3));
        assert_eq!((replicas.trim, replicas.replace_unknown), (false, None));
        let api = replicas.api;
        assert_eq!(
            (api.protocol.to_string(), api.port),
            ("http".to_owned(), 8080)
        );
        assert_eq!(api.path, "/");
        assert_eq!(api.capacity_key, "capacity");
        assert_eq!(api.termination_key, "termination");
    }

    #[test]
    fn every_setting_of_replicas_is_read_and_a_wrong_one_is_named() {
        let cases = [
            ("REPLICA_CAPACITY", "3", "0"),
            ("REPLICA_MIN_AVAILABLE_RESOURCES", "0", "-1"),
            ("REPLICA_API_PROTOCOL", "https", "ftp"),
            ("REPLICA_API_PORT", "443", "65536"),
            ("REPLICA_API_PATH", "/status?x=1", "status"),
            ("REPLICA_API_SECONDS", "1", "0"),
            ("REPLICA_MAX", "5", "many"),
            ("REPLICA_TRIM", "true", "yes"),
            ("REPLICA_UNKNOWN_SECONDS", "60", "0"),
            ("REPLICA_BOOT_SECONDS", "60", "0"),
            ("REPLICA_ADDRESS_TAG", "pool=public", "public"),
            ("REPLICA_REGION", "eu-west-1", "EU WEST"),
            ("REPLICA_LAUNCH_CHOICES", "[]", "m6i.large"),
            ("REPLICA_SECURITY_GROUPS", r#"["sg-1"]"#, "sg-1"),
        ];
        let before = PassConfig::from_env(&replicas_alone()).unwrap();
        for (name, right, wrong) in cases {
            let mut env = replicas_alone();
            env.insert(name, right);
            let config = PassConfig::from_env(&env).unwrap();
            assert_ne!(format!("{config:?}"), format!("{before:?}"), "{name}");
            env.insert(name, wrong);
            let error = PassConfig::from_env(&env).unwrap_err().to_string();
            assert!(error.contains(name), "{name}: {error}");
        }
        for name in ["REPLICA_IMAGE", "REPLICA_LAUNCH_CHOICES"] {
            let mut env = replicas_alone();
            env.remove(name);
            let error = PassConfig::from_env(&env).unwrap_err();
            assert_eq!(error, ConfigError::Missing(name));
        }
    }

    #[test]
    fn the_graphql_path_is_not_part_of_the_url() {
        let mut env = complete();
        env.insert("HASURA_URL", "https://hasura.example/v1/graphql");
        assert!(PassConfig::from_env(&env).is_err());
    }
}
