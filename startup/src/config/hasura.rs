//! Hasura's settings, for the functions and for host agents.

use std::time::Duration;

use hasura_adapter::HasuraSettings;
use jiff::SignedDuration;
use secrecy::SecretString;

use super::environment::{ConfigError, Environment, or_default, required, secret};
use super::url::check_url;

/// Hasura's settings of functions that run passes, and of the host agents that they launch.
#[derive(Clone, Debug)]
pub struct HasuraConfig {
    pub hasura: HasuraSettings,
    /// Without `/v1/graphql`.
    pub agent_hasura_url: String,
    pub agent_token_key: SecretString,
    /// The key that Hasura will have after a rotation.
    pub agent_next_token_key: Option<SecretString>,
    pub agent_token_valid: SignedDuration,
}

impl HasuraConfig {
    pub(super) fn from_env(env: &dyn Environment) -> Result<Self, ConfigError> {
        let hasura = hasura(env, Duration::from_secs(10))?;
        let agent_hasura_url = match env.get("AGENT_HASURA_URL") {
            Some(url) => hasura_url(env, "AGENT_HASURA_URL", "AgentHasuraUrl", url)?,
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
        let agent_token_key = secret(
            env,
            "HASURA_JWT_KEY",
            "`jwt_key` of the secret, the key in HASURA_GRAPHQL_JWT_SECRET",
        )?;
        const NEXT: &str = "HASURA_NEXT_JWT_KEY";
        let agent_next_token_key = match env.get(NEXT) {
            Some(_) => Some(secret(env, NEXT, "`next_jwt_key` of the secret")?),
            None => None,
        };
        Ok(Self {
            hasura,
            agent_hasura_url,
            agent_token_key,
            agent_next_token_key,
            agent_token_valid: SignedDuration::from_hours(i64::from(days) * 24),
        })
    }
}

/// Hasura's address and the function's token, with the limit of one request.
///
/// # Errors
/// When one is missing, or the address is not an HTTP URL, or is `http` in production.
pub fn hasura(env: &dyn Environment, timeout: Duration) -> Result<HasuraSettings, ConfigError> {
    let url = required(env, "HASURA_URL")?;
    Ok(HasuraSettings {
        url: hasura_url(env, "HASURA_URL", "HasuraUrl", url)?,
        token: SecretString::from(required(env, "HASURA_TOKEN")?),
        timeout,
    })
}

/// The address of Hasura, without the path of its API.
fn hasura_url(
    env: &dyn Environment,
    name: &'static str,
    parameter: &'static str,
    text: String,
) -> Result<String, ConfigError> {
    let url = text.trim_end_matches('/');
    if url.ends_with("/v1/graphql") {
        let expected = "an https:// URL without /v1/graphql";
        return Err(ConfigError::invalid(name, text, expected));
    }
    check_url(env, name, parameter, url)?;
    Ok(url.to_owned())
}
