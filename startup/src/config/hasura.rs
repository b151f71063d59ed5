//! Hasura's settings, for the functions and for host agents.

use std::time::Duration;

use hasura_adapter::HasuraSettings;
use jiff::SignedDuration;
use secrecy::{ExposeSecret, SecretString};

use super::environment::{ConfigError, Environment, or_default, required};

/// Hasura's settings of functions that run passes, and of the host agents that they launch.
#[derive(Clone, Debug)]
pub struct HasuraConfig {
    pub hasura: HasuraSettings,
    /// Without `/v1/graphql`.
    pub agent_hasura_url: String,
    pub agent_token_key: SecretString,
    pub agent_token_valid: SignedDuration,
}

/// An HS256 key shorter than its hash weakens the signature. Hasura rejects it, too.
const MIN_KEY_BYTES: usize = 32;

impl HasuraConfig {
    pub(super) fn from_env(env: &dyn Environment) -> Result<Self, ConfigError> {
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

/// Hasura's address and admin secret, with the limit of one request.
///
/// # Errors
/// When one is missing, or the address is not an HTTP URL.
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
