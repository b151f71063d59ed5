//! The function's settings, from environment variables.

use std::time::Duration;

use hasura_adapter::HasuraSettings;
use jiff::SignedDuration;
use reqwest::Url;
use startup::config::{self, ConfigError, Environment, Stage, required};

use crate::cors::AllowedOrigins;
use crate::request::{LONGEST_WAIT, LocalDev};

/// For one request to Hasura. A key fetch (2 s) and two requests fit into the function's limit of
/// 10 s (and of 30 s, if requests may wait), so that it can answer with an error before it is killed.
pub(crate) const HASURA_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Clone, Debug)]
pub struct Settings {
    /// `STACK_ID`: the stack's name, a dimension of the metrics.
    pub stack_id: String,
    /// `ENVIRONMENT`: `dev`, `staging` or `prod`. Names the row of `app_versions`.
    pub environment: String,
    /// From `ENVIRONMENT`, too.
    pub stage: Stage,
    /// `HASURA_URL`, `HASURA_TOKEN`.
    pub hasura: HasuraSettings,
    /// `JWKS_URL`: where the identity provider publishes its keys.
    pub jwks_url: Url,
    /// `JWKS_KEPT_MINUTES`, by default 60: keys that were fetched longer ago are not used. It bounds
    /// how long a withdrawn key works while the provider cannot be reached.
    pub keys_kept: SignedDuration,
    /// `JWT_ISSUER`: the exact `iss` of its tokens.
    pub issuer: String,
    /// `JWT_AUDIENCE`: their `aud` must be or contain it.
    pub audience: String,
    /// `SESSIONS_PER_USER`, by default 3: the slots that one user may hold at once.
    pub sessions_per_user: u32,
    /// `MAX_WAIT_SECONDS`, by default 0: how long a request may wait for a slot. 0 answers every
    /// request at once.
    pub max_wait: Duration,
    /// `ALLOWED_ORIGINS`, by default `*`: the origins of web pages that may call, separated by
    /// commas.
    pub origins: AllowedOrigins,
}

impl Settings {
    /// # Errors
    /// Names the first variable that is missing or wrong.
    pub fn from_env(env: &dyn Environment) -> Result<Self, ConfigError> {
        let sessions_per_user = config::or_default(env, "SESSIONS_PER_USER", SESSIONS, 3)?;
        if sessions_per_user == 0 {
            return Err(ConfigError::invalid(
                "SESSIONS_PER_USER",
                "0".to_owned(),
                SESSIONS,
            ));
        }
        let origins = env.get("ALLOWED_ORIGINS").unwrap_or_else(|| "*".to_owned());
        Ok(Self {
            stack_id: required(env, "STACK_ID")?,
            environment: config::environment(env)?,
            stage: Stage::from_env(env)?,
            hasura: config::hasura(env, HASURA_TIMEOUT)?,
            jwks_url: jwks_url(env)?,
            keys_kept: keys_kept(env)?,
            issuer: required(env, "JWT_ISSUER")?,
            audience: required(env, "JWT_AUDIENCE")?,
            sessions_per_user,
            max_wait: max_wait(env)?,
            origins: AllowedOrigins::parse(&origins)
                .ok_or_else(|| ConfigError::invalid("ALLOWED_ORIGINS", origins, ORIGINS))?,
        })
    }

    pub fn local_dev(&self) -> LocalDev {
        match self.stage {
            Stage::Production => LocalDev::Refused,
            Stage::Other => LocalDev::Allowed,
        }
    }
}

const SESSIONS: &str = "a whole number from 1";
const ORIGINS: &str = "* or origins separated by commas, each as browsers write it: \
                       scheme://host or scheme://host:port in lower case, without a path";

/// HTTPS in production: an attacker who can replace the keys in transit can act as any user.
fn jwks_url(env: &dyn Environment) -> Result<Url, ConfigError> {
    const NAME: &str = "JWKS_URL";
    let text = required(env, NAME)?;
    config::check_url(env, NAME, "JwksUrl", &text)?;
    Url::parse(&text).map_err(|_| ConfigError::invalid(NAME, text, "an https:// URL"))
}

fn max_wait(env: &dyn Environment) -> Result<Duration, ConfigError> {
    const NAME: &str = "MAX_WAIT_SECONDS";
    const EXPECTED: &str = "a whole number of seconds, 0 to 20";
    let seconds = config::or_default(env, NAME, EXPECTED, 0u8)?;
    if seconds <= LONGEST_WAIT {
        Ok(Duration::from_secs(seconds.into()))
    } else {
        Err(ConfigError::invalid(NAME, seconds.to_string(), EXPECTED))
    }
}

fn keys_kept(env: &dyn Environment) -> Result<SignedDuration, ConfigError> {
    const NAME: &str = "JWKS_KEPT_MINUTES";
    const EXPECTED: &str = "a whole number of minutes, 1 to 1440";
    let minutes = config::or_default(env, NAME, EXPECTED, 60u16)?;
    if (1..=1440).contains(&minutes) {
        Ok(SignedDuration::from_mins(minutes.into()))
    } else {
        Err(ConfigError::invalid(NAME, minutes.to_string(), EXPECTED))
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
            ("HASURA_URL", "https://hasura.example"),
            ("HASURA_TOKEN", "secret"),
            ("JWKS_URL", "https://issuer.example/keys"),
            ("JWT_ISSUER", "https://issuer.example/"),
            ("JWT_AUDIENCE", "https://api.example"),
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
        assert_eq!(settings.sessions_per_user, 3);
        assert_eq!(settings.origins, AllowedOrigins::Any);
        assert_eq!(settings.max_wait, Duration::ZERO);
        assert_eq!(settings.keys_kept, SignedDuration::from_mins(60));
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
    fn invalid_value_is_named_with_its_variable() {
        for (name, value) in [
            ("ENVIRONMENT", "production"),
            ("SESSIONS_PER_USER", "0"),
            ("SESSIONS_PER_USER", "-1"),
            ("SESSIONS_PER_USER", "many"),
            ("ALLOWED_ORIGINS", "app.example"),
            ("MAX_WAIT_SECONDS", "21"),
            ("MAX_WAIT_SECONDS", "-1"),
            ("MAX_WAIT_SECONDS", "1.5"),
            ("JWKS_KEPT_MINUTES", "0"),
            ("JWKS_KEPT_MINUTES", "1441"),
            ("JWKS_KEPT_MINUTES", "an hour"),
            ("JWKS_URL", "issuer.example/keys"),
            ("JWKS_URL", "http://issuer.example/keys"),
            ("JWKS_URL", "file:///etc/keys"),
            ("HASURA_URL", "http://hasura.example"),
        ] {
            let error = with(name, value).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn http_key_url_is_accepted_only_for_loopback_or_outside_production() {
        assert!(with("JWKS_URL", "http://127.0.0.1:8080/keys").is_ok());
        let mut env = complete();
        env.extend([
            ("JWKS_URL", "http://keys.internal/keys"),
            ("ENVIRONMENT", "staging"),
        ]);
        assert!(Settings::from_env(&env).is_ok());
    }

    #[test]
    fn local_dev_is_accepted_outside_production() {
        assert_eq!(
            with("ENVIRONMENT", "prod").unwrap().local_dev(),
            LocalDev::Refused
        );
        assert_eq!(
            with("ENVIRONMENT", "staging").unwrap().local_dev(),
            LocalDev::Allowed
        );
        assert_eq!(
            with("ENVIRONMENT", "dev").unwrap().local_dev(),
            LocalDev::Allowed
        );
    }
}
