//! The functions' own tokens for Hasura: JWTs with a role each, for what the function asks and nothing
//! else. Only people hold the admin secret.
//!
//! An operator makes them beforehand, with the key that Hasura verifies them with: a function could make
//! its own only if it held that key, with which one can be anybody. They are valid for long, because they
//! change with a deployment, as every other secret of the functions does.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use thiserror::Error;

/// Where Hasura looks for a token's roles.
const CLAIMS: &str = "https://hasura.io/jwt/claims";

/// A role of Hasura for functions, as `hasura/metadata` grants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionRole {
    /// `assign-user`: gives slots to users.
    Assigner,
    /// `reconcile`: passes, requests of images, and what `doctor` reads.
    Passes,
    /// `hasura-event` and `instance-state-change`: passes, and spot notices.
    Events,
    /// `status`: reads.
    Status,
}

impl FunctionRole {
    pub const ALL: [Self; 4] = [Self::Assigner, Self::Passes, Self::Events, Self::Status];

    /// Hasura's name of the role.
    pub fn name(self) -> &'static str {
        match self {
            Self::Assigner => "assigner",
            Self::Passes => "passes",
            Self::Events => "events",
            Self::Status => "status",
        }
    }

    /// The key of the stack's secret that has the role's token.
    pub fn secret_key(self) -> &'static str {
        match self {
            Self::Assigner => "hasura_token_assigner",
            Self::Passes => "hasura_token_passes",
            Self::Events => "hasura_token_events",
            Self::Status => "hasura_token_status",
        }
    }

    /// A token of this role. Like the agents', it does not say when it was made: Hasura's clock may be
    /// behind.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn token(
        self,
        key: &SecretString,
        expires_at: Timestamp,
    ) -> Result<SecretString, FunctionTokenError> {
        let claims = json!({
            "sub": self.name(),
            "exp": expires_at.as_second(),
            CLAIMS: {
                "x-hasura-default-role": self.name(),
                "x-hasura-allowed-roles": [self.name()],
            },
        });
        let key = EncodingKey::from_secret(key.expose_secret().as_bytes());
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)?;
        Ok(token.into())
    }
}

#[derive(Debug, Error)]
#[error("sign a function's token with `jwt_key`: {0}")]
pub struct FunctionTokenError(#[from] jsonwebtoken::errors::Error);

/// What a token says about itself. Whether that is true is for Hasura to verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenClaims {
    pub role: String,
    pub expires_at: Timestamp,
}

impl TokenClaims {
    /// None if the text is not a token for Hasura.
    pub fn of(token: &str) -> Option<Self> {
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        Some(Self {
            role: claims[CLAIMS]["x-hasura-default-role"].as_str()?.to_owned(),
            expires_at: Timestamp::from_second(claims["exp"].as_i64()?).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_says_its_role_and_its_end() {
        let key = SecretString::from("a key of more than thirty-two bytes");
        let expires_at: Timestamp = "2100-01-01T00:00:00Z".parse().unwrap();
        for role in FunctionRole::ALL {
            let token = role.token(&key, expires_at).unwrap();
            let claims = TokenClaims::of(token.expose_secret()).unwrap();
            assert_eq!(claims.role, role.name());
            assert_eq!(claims.expires_at, expires_at);
        }
        for other in ["", "secret", "a.b.c", "e30.e30.e30"] {
            assert_eq!(TokenClaims::of(other), None, "{other}");
        }
    }
}
