//! Users' tokens: valid ones, and for tests every kind of invalid one.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::keys::{Algorithm, UserKeys};

/// The issuer that the deployed functions trust.
pub const ISSUER: &str = "https://login.local.invalid/";

/// The audience that the deployed functions require.
pub const AUDIENCE: &str = "scaling-service";

/// A JSON web token before it is signed.
///
/// A new token is valid; each method changes one property.
#[derive(Clone, Debug)]
pub struct Token {
    algorithm: Algorithm,
    key_id: Option<String>,
    has_key_id: bool,
    claims: Map<String, Value>,
}

impl Token {
    /// A token for `user` that is valid for an hour and signed with RS256.
    pub fn new(user: &str) -> Self {
        let mut claims = Map::new();
        claims.insert("iss".to_owned(), json!(ISSUER));
        claims.insert("aud".to_owned(), json!(AUDIENCE));
        claims.insert("sub".to_owned(), json!(user));
        Self {
            algorithm: Algorithm::Rs256,
            key_id: None,
            has_key_id: true,
            claims,
        }
        .expires_in(3600)
    }

    /// Sets the expiry to `seconds` from now. A negative number makes an expired token.
    #[must_use]
    pub fn expires_in(self, seconds: i64) -> Self {
        let now = now();
        self.claim("iat", now.min(now + seconds))
            .claim("exp", now + seconds)
    }

    /// Sets a claim.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a claim.
    #[must_use]
    pub fn without(mut self, claim: &str) -> Self {
        self.claims.remove(claim);
        self
    }

    #[must_use]
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Sets the `kid` header to another key than the one that signs.
    #[must_use]
    pub fn key_id(mut self, key_id: impl Into<String>) -> Self {
        self.key_id = Some(key_id.into());
        self
    }

    /// Removes the `kid` header.
    #[must_use]
    pub fn without_key_id(mut self) -> Self {
        self.has_key_id = false;
        self
    }

    /// Signs the token and returns it encoded.
    ///
    /// # Errors
    /// When the cryptography library fails.
    pub fn sign(&self, keys: &UserKeys) -> Result<String> {
        let mut header = json!({"typ": "JWT", "alg": self.algorithm.name()});
        if self.has_key_id {
            let own = || keys.key_id(self.algorithm);
            header["kid"] = json!(self.key_id.clone().unwrap_or_else(own));
        }
        let claims = serde_json::to_vec(&self.claims)?;
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims),
        );
        let signature = keys.sign(self.algorithm, message.as_bytes())?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Seconds since 1970.
// The only use of the wall clock in this crate.
#[allow(clippy::disallowed_methods)]
pub(crate) fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};

    use super::*;

    /// Verifies like `assign-user`: finds the key by its id, then checks signature and claims.
    fn verify(token: &str, keys: &UserKeys) -> Option<Map<String, Value>> {
        let set: JwkSet = serde_json::from_value(keys.key_set()).unwrap();
        let header = decode_header(token).ok()?;
        let key = DecodingKey::from_jwk(set.find(&header.kid?)?).unwrap();
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        decode(token, &key, &validation)
            .ok()
            .map(|token| token.claims)
    }

    #[test]
    fn valid_token_is_accepted_with_both_algorithms() {
        let keys = UserKeys::generate().unwrap();
        for algorithm in [Algorithm::Rs256, Algorithm::Es256] {
            let token = Token::new("alice")
                .algorithm(algorithm)
                .sign(&keys)
                .unwrap();
            assert_eq!(verify(&token, &keys).unwrap()["sub"], "alice");
        }
    }

    #[test]
    fn each_invalid_token_is_rejected() {
        let keys = UserKeys::generate().unwrap();
        let good = || Token::new("mallory");
        let wrong = [
            good().expires_in(-3600),
            good().claim("iss", "https://elsewhere.invalid/"),
            good().claim("aud", "another-service"),
            good().without("exp"),
            good().key_id("unknown"),
            good().without_key_id(),
            good().algorithm(Algorithm::None),
            good().algorithm(Algorithm::Hs256WithPublicKey),
        ];
        for token in wrong {
            assert_eq!(
                verify(&token.sign(&keys).unwrap(), &keys),
                None,
                "{token:?}"
            );
        }
        let foreign = UserKeys::generate().unwrap();
        let forged = good()
            .key_id(keys.key_id(Algorithm::Rs256))
            .sign(&foreign)
            .unwrap();
        assert_eq!(verify(&forged, &keys), None);
    }
}
