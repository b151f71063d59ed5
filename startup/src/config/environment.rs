//! Reading single variables.

use std::collections::HashMap;
use std::env::VarError;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use shared::words::quoted;
use thiserror::Error;

/// A variable is missing or invalid.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    #[error("set the environment variable {0}")]
    Missing(&'static str),
    #[error(
        "the environment variable {name} is {}: it must be {expected}",
        quoted(value)
    )]
    Invalid {
        name: &'static str,
        value: String,
        expected: &'static str,
    },
    #[error("the environment variable {name}: {problem}")]
    BadSetting { name: &'static str, problem: String },
}

impl ConfigError {
    /// The variable has a value that is not `expected`.
    pub fn invalid(name: &'static str, value: String, expected: &'static str) -> Self {
        Self::Invalid {
            name,
            value,
            expected,
        }
    }
}

/// A source of variables, which tests can replace.
pub trait Environment {
    /// The variable's value; none if it is not set.
    fn get(&self, name: &'static str) -> Option<String>;
}

/// The environment of the process. An empty value counts as not set, because CloudFormation cannot
/// leave a variable out.
#[derive(Clone, Copy, Debug)]
pub struct ProcessEnvironment;

/// For tests.
impl Environment for HashMap<&'static str, &'static str> {
    fn get(&self, name: &'static str) -> Option<String> {
        HashMap::get(self, name).map(ToString::to_string)
    }
}

impl Environment for ProcessEnvironment {
    #[expect(clippy::disallowed_methods, reason = "settings are read only here")]
    fn get(&self, name: &'static str) -> Option<String> {
        match std::env::var(name) {
            Ok(value) if !value.is_empty() => Some(value),
            Ok(_) | Err(VarError::NotPresent) => None,
            Err(VarError::NotUnicode(value)) => Some(value.to_string_lossy().into_owned()),
        }
    }
}

/// The value of a required variable.
///
/// # Errors
/// When the variable is not set.
pub fn required(env: &dyn Environment, name: &'static str) -> Result<String, ConfigError> {
    env.get(name).ok_or(ConfigError::Missing(name))
}

/// A shorter secret could be guessed, and an HS256 key that is shorter than its hash weakens the
/// signature: Hasura rejects it, too.
const MIN_SECRET_BYTES: usize = 32;

/// A required secret of 32 bytes or more. `origin` says in the error where it comes from.
///
/// # Errors
/// When the variable is not set, or its value is too short. The error does not quote it.
pub fn secret(
    env: &dyn Environment,
    name: &'static str,
    origin: &'static str,
) -> Result<SecretString, ConfigError> {
    let secret = SecretString::from(required(env, name)?);
    let length = secret.expose_secret().len();
    if length >= MIN_SECRET_BYTES {
        return Ok(secret);
    }
    Err(ConfigError::BadSetting {
        name,
        problem: format!(
            "the secret has {length} bytes: it must have {MIN_SECRET_BYTES} or more ({origin})"
        ),
    })
}

/// Whether real users depend on the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Production,
    /// `dev` or `staging`.
    Other,
}

impl Stage {
    /// From `ENVIRONMENT`. Without a default, because it decides what is refused in production.
    ///
    /// # Errors
    /// When the variable is not set, or is no stage.
    pub fn from_env(env: &dyn Environment) -> Result<Self, ConfigError> {
        match environment(env)?.as_str() {
            "prod" => Ok(Self::Production),
            _ => Ok(Self::Other),
        }
    }
}

/// `ENVIRONMENT`: `dev`, `staging` or `prod`. It names the row of `app_versions`.
///
/// # Errors
/// When the variable is not set, or has another value.
pub fn environment(env: &dyn Environment) -> Result<String, ConfigError> {
    const NAME: &str = "ENVIRONMENT";
    let environment = required(env, NAME)?;
    if ["dev", "staging", "prod"].contains(&environment.as_str()) {
        Ok(environment)
    } else {
        Err(ConfigError::invalid(
            NAME,
            environment,
            "dev, staging or prod",
        ))
    }
}

/// The value of a variable, or `default` if it is not set. `expected` says in the error what the
/// value must be.
///
/// # Errors
/// When the value cannot be parsed.
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

/// `LOG_LEVEL`, a `tracing` filter; `info` if it is not set.
pub fn log_level(env: &dyn Environment) -> String {
    env.get("LOG_LEVEL").unwrap_or_else(|| "info".to_owned())
}
