//! The token of a launch's host agents: a JWT with Hasura's role `host_agent`, for the rows of that
//! launch only. Instances never get the admin secret.

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use thiserror::Error;

use crate::ids::LaunchId;

/// Signs tokens with the key that Hasura verifies them with (`HASURA_GRAPHQL_JWT_SECRET`, HS256).
#[derive(Clone, Debug)]
pub struct AgentTokens {
    key: SecretString,
    valid_for: SignedDuration,
}

#[derive(Debug, Error)]
#[error("sign a host agent's token with HASURA_JWT_KEY: {0}")]
pub struct TokenError(#[from] jsonwebtoken::errors::Error);

impl AgentTokens {
    pub fn new(key: SecretString, valid_for: SignedDuration) -> Self {
        Self { key, valid_for }
    }

    /// The age from which an instance is replaced: nine tenths of its token's validity.
    pub fn renew_after(&self) -> SignedDuration {
        self.valid_for - self.valid_for / 10
    }

    /// A token for one launch, valid from `now` on.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn mint(&self, launch: &LaunchId, now: Timestamp) -> Result<String, TokenError> {
        let claims = json!({
            "sub": launch,
            "iat": now.as_second(),
            "exp": (now + self.valid_for).as_second(),
            "https://hasura.io/jwt/claims": {
                "x-hasura-default-role": "host_agent",
                "x-hasura-allowed-roles": ["host_agent"],
                "x-hasura-launch-id": launch,
            },
        });
        let key = EncodingKey::from_secret(self.key.expose_secret().as_bytes());
        Ok(jsonwebtoken::encode(
            &Header::new(Algorithm::HS256),
            &claims,
            &key,
        )?)
    }
}
