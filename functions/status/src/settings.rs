//! The function's settings, from environment variables.

use std::time::Duration;

use hasura_adapter::HasuraSettings;
use jiff::SignedDuration;
use startup::config::{self, ConfigError, Environment, EnvironmentRegion, required};

use crate::auth::Access;

/// For the one request to Hasura. With the time for DynamoDB ([`crate::gather`]) it fits into the
/// function's limit of 12 s, so that it can answer with an error before it is killed.
const HASURA_TIMEOUT: Duration = Duration::from_secs(4);

/// For one call to DynamoDB, including the SDK's retries.
pub const DYNAMODB_CALL: Duration = Duration::from_secs(3);

#[derive(Clone, Debug)]
pub struct Settings {
    pub regions: RegionsOf,
    /// `ENVIRONMENT`: names the row of `app_versions`.
    pub environment: String,
    /// `SCALING_TABLE`.
    pub table: String,
    /// `STATUS_AUTH`, by default `token`, and `STATUS_TOKEN`.
    pub access: Access,
    /// `STALE_SECONDS`, by default 180: three scheduled passes.
    pub stale_after: SignedDuration,
}

/// Where the list of regions comes from.
#[derive(Clone, Debug)]
pub enum RegionsOf {
    /// `HASURA_URL`, `HASURA_TOKEN`.
    Hasura(HasuraSettings),
    /// `REPLICA_REGION` and related variables, in a stack for replicas alone.
    Environment(Box<EnvironmentRegion>),
}

impl RegionsOf {
    fn from_env(env: &dyn Environment) -> Result<Self, ConfigError> {
        if config::is_for_replicas_alone(env) {
            let region = config::environment_region(env)?;
            return Ok(Self::Environment(Box::new(region)));
        }
        config::hasura(env, HASURA_TIMEOUT).map(Self::Hasura)
    }
}

impl Settings {
    /// # Errors
    /// Names the first variable that is missing or wrong.
    pub fn from_env(env: &dyn Environment) -> Result<Self, ConfigError> {
        let stale = config::or_default(env, "STALE_SECONDS", SECONDS, 180u32)?;
        if stale == 0 {
            return Err(ConfigError::invalid(
                "STALE_SECONDS",
                "0".to_owned(),
                SECONDS,
            ));
        }
        Ok(Self {
            regions: RegionsOf::from_env(env)?,
            environment: config::environment(env)?,
            table: required(env, "SCALING_TABLE")?,
            access: access(env)?,
            stale_after: SignedDuration::from_secs(stale.into()),
        })
    }
}

const SECONDS: &str = "a whole number of seconds from 1";

fn access(env: &dyn Environment) -> Result<Access, ConfigError> {
    match env.get("STATUS_AUTH").as_deref() {
        None | Some("token") => {}
        Some("none") => return Ok(Access::Open),
        // Without a fallback, because it decides who has access.
        Some(other) => {
            return Err(ConfigError::invalid(
                "STATUS_AUTH",
                other.to_owned(),
                "token or none",
            ));
        }
    }
    let origin = "`status_token` of the secret; with STATUS_AUTH=none no token is needed";
    let token = config::secret(env, "STATUS_TOKEN", origin)?;
    Ok(Access::Token(token))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn complete() -> HashMap<&'static str, &'static str> {
        HashMap::from([
            ("ENVIRONMENT", "prod"),
            ("HASURA_URL", "https://hasura.example"),
            ("HASURA_TOKEN", "secret"),
            ("SCALING_TABLE", "scaling"),
            ("STATUS_TOKEN", "0123456789abcdef0123456789abcdef"),
        ])
    }

    fn with(name: &'static str, value: &'static str) -> Result<Settings, ConfigError> {
        let mut env = complete();
        env.insert(name, value);
        Settings::from_env(&env)
    }

    #[test]
    fn optional_variables_have_their_documented_defaults() {
        let settings = Settings::from_env(&complete()).unwrap();
        assert_eq!(settings.stale_after, SignedDuration::from_secs(180));
        assert!(matches!(settings.access, Access::Token(_)));
    }

    #[test]
    fn missing_variable_is_named() {
        for name in complete().keys() {
            let mut env = complete();
            env.remove(name);
            assert_eq!(
                Settings::from_env(&env).unwrap_err(),
                ConfigError::Missing(name)
            );
        }
    }

    #[test]
    fn open_access_needs_no_token() {
        let mut env = complete();
        env.remove("STATUS_TOKEN");
        env.insert("STATUS_AUTH", "none");
        assert!(matches!(
            Settings::from_env(&env).unwrap().access,
            Access::Open
        ));
    }

    #[test]
    fn invalid_value_is_named_with_its_variable() {
        for (name, value) in [
            ("STALE_SECONDS", "0"),
            ("STALE_SECONDS", "-1"),
            ("STALE_SECONDS", "soon"),
            ("STATUS_AUTH", "None"),
            ("STATUS_AUTH", "off"),
        ] {
            let error = with(name, value).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn short_token_is_rejected_without_quoting_it() {
        let error = with("STATUS_TOKEN", "thirty-one bytes are not enough")
            .unwrap_err()
            .to_string();
        assert!(error.contains("STATUS_TOKEN"), "{error}");
        assert!(!error.contains("thirty-one"), "{error}");
    }
}
