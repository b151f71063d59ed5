//! Verifies the token of the `Authorization` header, and returns its user.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde::Deserialize;
use shared::assign::{BadId, UserId};
use thiserror::Error;

use crate::jwks::VerificationKey;
use crate::key_cache::{KeyCache, NoKey};

/// The accepted difference between the provider's clock and ours, in seconds.
const LEEWAY: u64 = 30;

/// In bytes. Tokens with hundreds of claims are shorter.
const LONGEST_TOKEN: usize = 16 * 1024;

/// Why a request has no user. No variant quotes the token.
#[derive(Debug, Error)]
pub enum AuthError {
    #[error("send a token: `Authorization: Bearer <JWT>`")]
    Missing,
    #[error("the token {0}")]
    Refused(TokenProblem),
    /// The token is valid, but its `sub` cannot be a user's id.
    #[error("the token's `sub` {0}")]
    NotAUser(#[source] BadId),
    #[error("the keys that verify the token are unavailable now")]
    KeysUnavailable,
}

#[derive(Debug, Error)]
pub enum TokenProblem {
    #[error("is not a JSON Web Token that is signed with RS256 or ES256")]
    Malformed,
    #[error("is too long")]
    TooLong,
    #[error("has a critical header parameter that is not supported")]
    Critical,
    #[error("is signed with another algorithm than its key has")]
    Algorithm,
    #[error("is signed with an unknown key")]
    UnknownKey,
    #[error("has a wrong signature")]
    Signature,
    #[error("is expired")]
    Expired,
    #[error("is not valid yet")]
    NotYet,
    #[error("is from another issuer")]
    Issuer,
    #[error("is for another audience")]
    Audience,
    #[error("has no valid `{0}` claim")]
    Claim(String),
}

impl From<TokenProblem> for AuthError {
    fn from(problem: TokenProblem) -> Self {
        Self::Refused(problem)
    }
}

/// Verifies tokens of one issuer, meant for one audience.
#[derive(Debug)]
pub struct TokenVerifier {
    keys: KeyCache,
    rs256: Validation,
    es256: Validation,
}

#[derive(Deserialize)]
struct Claims {
    /// Any type is accepted here: a valid token with a wrong `sub` has an error of its own.
    #[serde(default)]
    sub: serde_json::Value,
}

impl TokenVerifier {
    pub fn new(keys: KeyCache, issuer: &str, audience: &str) -> Self {
        let validation = |algorithm| {
            let mut validation = Validation::new(algorithm);
            validation.leeway = LEEWAY;
            validation.validate_nbf = true;
            validation.set_issuer(&[issuer]);
            validation.set_audience(&[audience]);
            validation.set_required_spec_claims(&["exp", "iss", "aud"]);
            validation
        };
        Self {
            keys,
            rs256: validation(Algorithm::RS256),
            es256: validation(Algorithm::ES256),
        }
    }

    /// # Errors
    /// When the token is missing or not accepted, or the keys are unavailable.
    pub async fn user(&self, headers: &HeaderMap) -> Result<UserId, AuthError> {
        let token = bearer(headers)?;
        let header = decode_header(token).map_err(|_| TokenProblem::Malformed)?;
        // Before the key is looked up: a token that can never be accepted must not cause a fetch.
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256) {
            return Err(TokenProblem::Malformed.into());
        }
        // RFC 7515, section 4.1.11: a critical parameter that is not supported makes it invalid.
        if header.crit.is_some() {
            return Err(TokenProblem::Critical.into());
        }
        let keys = self
            .keys
            .find(header.kid.as_deref())
            .await
            .map_err(|none| match none {
                NoKey::Unknown => AuthError::Refused(TokenProblem::UnknownKey),
                NoKey::Unavailable => AuthError::KeysUnavailable,
            })?;
        let claims = self.verify(token, header.alg, &keys)?;
        UserId::parse(claims.sub.as_str().unwrap_or_default()).map_err(AuthError::NotAUser)
    }

    /// The claims of a token that one of these keys has signed. Keys may share an id, so all that
    /// have the token's algorithm are tried.
    fn verify(
        &self,
        token: &str,
        algorithm: Algorithm,
        keys: &[Arc<VerificationKey>],
    ) -> Result<Claims, TokenProblem> {
        let mut refused = TokenProblem::Algorithm;
        for key in keys.iter().filter(|key| key.algorithm == algorithm) {
            let validation = if key.algorithm == Algorithm::ES256 {
                &self.es256
            } else {
                &self.rs256
            };
            match decode::<Claims>(token, &key.key, validation).map_err(problem) {
                Ok(token) => return Ok(token.claims),
                Err(TokenProblem::Signature) => refused = TokenProblem::Signature,
                Err(other) => return Err(other),
            }
        }
        Err(refused)
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, AuthError> {
    let header = headers.get(AUTHORIZATION).ok_or(AuthError::Missing)?;
    let (scheme, token) = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or(AuthError::Missing)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(AuthError::Missing);
    }
    if token.len() > LONGEST_TOKEN {
        return Err(TokenProblem::TooLong.into());
    }
    Ok(token)
}

fn problem(error: jsonwebtoken::errors::Error) -> TokenProblem {
    match error.into_kind() {
        ErrorKind::ExpiredSignature => TokenProblem::Expired,
        ErrorKind::ImmatureSignature => TokenProblem::NotYet,
        ErrorKind::InvalidIssuer => TokenProblem::Issuer,
        ErrorKind::InvalidAudience => TokenProblem::Audience,
        ErrorKind::InvalidSignature => TokenProblem::Signature,
        ErrorKind::InvalidAlgorithm => TokenProblem::Algorithm,
        ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => {
            TokenProblem::Claim(claim)
        }
        _ => TokenProblem::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))])
    }

    #[test]
    fn scheme_is_case_insensitive() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c "] {
            assert_eq!(bearer(&headers(value)).unwrap(), "a.b.c");
        }
    }

    #[test]
    fn header_without_bearer_token_counts_as_missing() {
        for value in ["", "Bearer", "Bearer ", "Basic dTpw", "a.b.c", "Bearer\ta"] {
            assert!(
                matches!(bearer(&headers(value)), Err(AuthError::Missing)),
                "{value}"
            );
        }
        assert!(matches!(bearer(&HeaderMap::new()), Err(AuthError::Missing)));
    }
}
