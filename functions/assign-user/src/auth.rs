//! Who asks: from an `Authorization` header to a user, or to what is wrong with the token.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde::Deserialize;
use shared::assign::{BadId, UserId};
use thiserror::Error;

use crate::key_cache::{KeyCache, NoKey};

/// How far the provider's clock and ours may be apart, in seconds.
const LEEWAY: u64 = 30;

/// Tokens with hundreds of claims stay under this.
const LONGEST_TOKEN: usize = 16 * 1024;

/// Why a request's user is not known. No variant quotes the token.
#[derive(Debug, Error)]
pub enum AuthError {
    #[error("send a token: `Authorization: Bearer <JWT>`")]
    Missing,
    #[error("the token {0}")]
    Refused(TokenProblem),
    /// It is genuine, and not a user's.
    #[error("the token's `sub` {0}")]
    NotAUser(#[source] BadId),
    #[error("the keys to verify the token with cannot be had now")]
    KeysUnavailable,
}

#[derive(Debug, Error)]
pub enum TokenProblem {
    #[error("is no JSON Web Token that is signed with RS256 or ES256")]
    Malformed,
    #[error("is too long")]
    TooLong,
    #[error("has a critical header parameter that is not understood")]
    Critical,
    #[error("is signed with an algorithm that is not its key's")]
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
    /// Of whatever type: a token without a user is genuine all the same.
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
    /// When there is no token, it is not one to be accepted, or the keys cannot be had.
    pub async fn user(&self, headers: &HeaderMap) -> Result<UserId, AuthError> {
        let token = bearer(headers)?;
        let header = decode_header(token).map_err(|_| TokenProblem::Malformed)?;
        // Before the key is looked for: a token that can never be accepted fetches nothing.
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256) {
            return Err(TokenProblem::Malformed.into());
        }
        // RFC 7515, section 4.1.11: what is critical and not understood invalidates the token.
        if header.crit.is_some() {
            return Err(TokenProblem::Critical.into());
        }
        let key = self
            .keys
            .find(header.kid.as_deref())
            .await
            .map_err(|none| match none {
                NoKey::Unknown => AuthError::Refused(TokenProblem::UnknownKey),
                NoKey::Unavailable => AuthError::KeysUnavailable,
            })?;
        let validation = if key.algorithm == Algorithm::ES256 {
            &self.es256
        } else {
            &self.rs256
        };
        let claims = decode::<Claims>(token, &key.key, validation)
            .map_err(problem)?
            .claims;
        UserId::parse(claims.sub.as_str().unwrap_or_default()).map_err(AuthError::NotAUser)
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
    fn the_scheme_is_read_in_any_case() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c "] {
            assert_eq!(bearer(&headers(value)).unwrap(), "a.b.c");
        }
    }

    #[test]
    fn what_is_no_bearer_token_is_missing() {
        for value in ["", "Bearer", "Bearer ", "Basic dTpw", "a.b.c", "Bearer\ta"] {
            assert!(
                matches!(bearer(&headers(value)), Err(AuthError::Missing)),
                "{value}"
            );
        }
        assert!(matches!(bearer(&HeaderMap::new()), Err(AuthError::Missing)));
    }
}
