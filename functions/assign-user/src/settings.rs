//! The function's settings, from environment variables.

use std::time::Duration;

use hasura_adapter::HasuraSettings;
use reqwest::Url;
use startup::config::{self, ConfigError, Environment, required};

use crate::cors::AllowedOrigins;
use crate::request::LocalDev;

/// For one request to Hasura. A key fetch (2 s) and two requests fit into the function's limit of
/// 10 s, so that it can answer with an error before it is killed.
const HASURA_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Clone, Debug)]
pub struct Settings {
    /// `ENVIRONMENT`: `dev`, `staging` or `prod`. Names the row of `app_versions`.
    pub environment: String,
    /// `HASURA_URL`, `HASURA_ADMIN_SECRET`.
    pub hasura: HasuraSettings,
    /// `JWKS_URL`: where the identity provider publishes its keys.
    pub jwks_url: Url,
    /// `JWT_ISSUER`: the exact `iss` of its tokens.
    pub issuer: String,
    /// `JWT_AUDIENCE`: their `aud` must be or contain it.
    pub audience: String,
    /// `SESSIONS_PER_USER`, by default 3: the slots that one user may hold at once.
    pub sessions_per_user: u32,
    /// `ALLOWED_ORIGINS`, by default `*`: the origins of web pages that may call, separated by
    /// commas.
    pub origins: AllowedOrigins,
}

impl Settings {
    /// # Errors
    /// Names the first variable that is missing or wrong.
    pub fn from_env(env: &dyn Environment) -> Result<Self, ConfigError> {
        let environment = required(env, "ENVIRONMENT")?;
        if !["dev", "staging", "prod"].contains(&environment.as_str()) {
            // Without a default, because it decides whether `local_dev` is accepted.
            return Err(ConfigError::invalid(
                "ENVIRONMENT",
                environment,
                "dev, staging or prod",
            ));
        }
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
            hasura: config::hasura(env, HASURA_TIMEOUT)?,
            jwks_url: jwks_url(env, &environment)?,
            issuer: required(env, "JWT_ISSUER")?,
            audience: required(env, "JWT_AUDIENCE")?,
            sessions_per_user,
            origins: AllowedOrigins::parse(&origins)
                .ok_or_else(|| ConfigError::invalid("ALLOWED_ORIGINS", origins, ORIGINS))?,
            environment,
        })
    }

    pub fn local_dev(&self) -> LocalDev {
        if self.environment == "prod" {
            LocalDev::Refused
        } else {
            LocalDev::Allowed
        }
    }
}

const SESSIONS: &str = "a whole number from 1";
const ORIGINS: &str = "* or origins separated by commas, each as browsers write it: \
                       scheme://host or scheme://host:port in lower case, without a path";
const JWKS: &str = "an https:// URL (http:// only for a loopback address, or outside production)";

/// HTTPS in production: an attacker who can replace the keys in transit can act as any user.
fn jwks_url(env: &dyn Environment, environment: &str) -> Result<Url, ConfigError> {
    let text = required(env, "JWKS_URL")?;
    let loopback = |url: &Url| matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    match Url::parse(&text) {
        Ok(url) if url.scheme() == "https" => Ok(url),
        Ok(url) if url.scheme() == "http" && (environment != "prod" || loopback(&url)) => Ok(url),
        _ => Err(ConfigError::invalid("JWKS_URL", text, JWKS)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn complete() -> HashMap<&'static str, &'static str> {
        HashMap::from([
            ("ENVIRONMENT", "prod"),
            ("HASURA_URL", "https://hasura.example"),
            ("HASURA_ADMIN_SECRET", "secret"),
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
            ("JWKS_URL", "issuer.example/keys"),
            ("JWKS_URL", "http://issuer.example/keys"),
            ("JWKS_URL", "file:///etc/keys"),
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
