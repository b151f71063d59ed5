//! `local-stack tokens`: makes the functions' tokens for Hasura. It needs no running stack: operators of a
//! real deployment use it, too.

use std::collections::BTreeMap;
use std::io::Read as _;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use shared::function_token::FunctionRole;

use crate::token::now;

/// The tokens by the keys of the secret that they are kept under.
pub type Tokens = BTreeMap<&'static str, SecretString>;

/// How long a token is valid unless told otherwise.
pub const DAYS: u16 = 365;

const SECONDS_OF_A_DAY: i64 = 24 * 60 * 60;

/// As Hasura does.
const MIN_KEY_BYTES: usize = 32;

/// How long the tokens are valid
#[derive(Args, Clone, Debug)]
pub struct MakeTokens {
    /// Days until the tokens end; 1 to 3650
    #[arg(long, default_value_t = DAYS, value_parser = clap::value_parser!(u16).range(1..=3650))]
    days: u16,
}

impl MakeTokens {
    /// Reads the stack's secret as JSON from the standard input, and prints it with new tokens.
    ///
    /// # Errors
    /// When the input is not the secret.
    pub fn run(&self) -> Result<()> {
        let mut secret = String::new();
        std::io::stdin()
            .read_to_string(&mut secret)
            .context("read the secret from the standard input")?;
        println!("{}", with_tokens(&secret, self.days)?);
        Ok(())
    }
}

/// The secret with a new token for each role.
fn with_tokens(secret: &str, days: u16) -> Result<String> {
    // The error's cause is left out, because it could quote the secret.
    let Ok(mut secret) = serde_json::from_str::<Map<String, Value>>(secret) else {
        bail!("the secret must be a JSON object: {{\"jwt_key\":\"…\",…}}");
    };
    let key = secret.get("jwt_key").and_then(Value::as_str);
    let key = key.context("the secret has no `jwt_key`")?;
    ensure!(
        key.len() >= MIN_KEY_BYTES,
        "`jwt_key` must have at least {MIN_KEY_BYTES} bytes, as in HASURA_GRAPHQL_JWT_SECRET"
    );
    for (name, token) in make(&SecretString::from(key), days)? {
        let token = Value::String(token.expose_secret().to_owned());
        secret.insert(name.to_owned(), token);
    }
    Ok(Value::Object(secret).to_string())
}

/// A token for each role, valid for `days` from now.
///
/// # Errors
/// When the key cannot sign.
pub fn make(key: &SecretString, days: u16) -> Result<Tokens> {
    let expires_at = Timestamp::from_second(now() + i64::from(days) * SECONDS_OF_A_DAY)?;
    let token = |role: FunctionRole| Ok((role.secret_key(), role.token(key, expires_at)?));
    FunctionRole::ALL.into_iter().map(token).collect()
}

#[cfg(test)]
mod tests {
    use shared::function_token::TokenClaims;

    use super::*;

    #[test]
    fn secret_gets_a_token_for_each_role_and_keeps_its_keys() {
        let key = "0123456789abcdef0123456789abcdef";
        let secret =
            format!(r#"{{"jwt_key":"{key}","event_secret":"e","hasura_token_status":"old"}}"#);
        let secret: Value = serde_json::from_str(&with_tokens(&secret, 7).unwrap()).unwrap();
        assert_eq!(secret["jwt_key"], key);
        assert_eq!(secret["event_secret"], "e");
        for role in FunctionRole::ALL {
            let token = secret[role.secret_key()].as_str().unwrap();
            let claims = TokenClaims::of(token).unwrap();
            assert_eq!(claims.role, role.name());
            let left = claims.expires_at.as_second() - now();
            assert!((7 * SECONDS_OF_A_DAY - left).abs() < 60, "{left}");
        }
    }

    #[test]
    fn wrong_secret_is_refused_without_quoting_it() {
        for secret in [
            "",
            "secret",
            "[]",
            r#"{"key":"k"}"#,
            r#"{"jwt_key":"too short"}"#,
        ] {
            let error = with_tokens(secret, 7).unwrap_err().to_string();
            assert!(!error.contains("too short"), "{error}");
        }
    }
}
