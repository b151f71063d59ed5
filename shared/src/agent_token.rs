//! The tokens of host agents: JWTs with Hasura's role `host_agent`, each for one instance. Instances
//! never get the admin secret.
//!
//! A launch launches one instance, so its id names the instance before EC2 does. The launch's user
//! data has the first token; passes write the next ones, which only the instance can fetch.

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use thiserror::Error;

use crate::ids::{KeyId, LaunchId, TokenId};
use crate::scaling::TokenPolicy;

/// Signs tokens with the key that Hasura verifies them with (`HASURA_GRAPHQL_JWT_SECRET`, HS256).
#[derive(Clone, Debug)]
pub struct AgentTokens {
    key: Key,
    /// The key that Hasura will have after a rotation. An agent gets a token of it beforehand, and
    /// uses whichever Hasura accepts.
    next_key: Option<Key>,
    valid_for: SignedDuration,
}

#[derive(Clone, Debug)]
struct Key {
    secret: SecretString,
    id: KeyId,
}

/// A signed token.
#[derive(Clone, Debug)]
pub struct AgentToken {
    pub token: SecretString,
    /// Its claim `x-hasura-token-id`: unique among the tokens of one instance.
    pub token_id: TokenId,
    pub key_id: KeyId,
    pub valid_until: Timestamp,
}

#[derive(Debug, Error)]
#[error("sign a host agent's token with HASURA_JWT_KEY or HASURA_NEXT_JWT_KEY: {0}")]
pub struct TokenError(#[from] jsonwebtoken::errors::Error);

impl Key {
    fn new(secret: SecretString) -> Result<Self, TokenError> {
        // Tells keys apart, and says no more of one than any of its tokens does.
        let mac = jsonwebtoken::crypto::sign(b"key id", &encoding(&secret), Algorithm::HS256)?;
        let id = KeyId::new(mac.chars().take(16).collect::<String>());
        Ok(Self { secret, id })
    }
}

impl AgentTokens {
    /// # Errors
    /// When the key cannot sign. The same holds for all functions below.
    pub fn new(key: SecretString, valid_for: SignedDuration) -> Result<Self, TokenError> {
        Ok(Self {
            key: Key::new(key)?,
            next_key: None,
            valid_for,
        })
    }

    /// The same, while the key is being replaced by another one.
    ///
    /// # Errors
    /// When the next key cannot sign.
    pub fn with_next_key(self, key: SecretString) -> Result<Self, TokenError> {
        Ok(Self {
            next_key: Some(Key::new(key)?),
            ..self
        })
    }

    /// The same keys, for tokens that are valid for another time.
    #[must_use]
    pub fn valid_for(&self, valid_for: SignedDuration) -> Self {
        Self {
            valid_for,
            ..self.clone()
        }
    }

    /// What decides when a token is renewed.
    pub fn policy(&self) -> TokenPolicy {
        TokenPolicy {
            key: self.newest_key().id.clone(),
            is_rotating: self.next_key.is_some(),
            valid_for: self.valid_for,
        }
    }

    /// A token that Hasura accepts now, valid until `now` and the validity.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn mint(&self, launch: &LaunchId, now: Timestamp) -> Result<AgentToken, TokenError> {
        self.sign(&self.key, launch, now)
    }

    /// A token that Hasura accepts once the key is replaced; none without a next key.
    ///
    /// # Errors
    /// When the next key cannot sign.
    pub fn mint_next(
        &self,
        launch: &LaunchId,
        now: Timestamp,
    ) -> Result<Option<AgentToken>, TokenError> {
        let next_key = self.next_key.as_ref();
        next_key.map(|key| self.sign(key, launch, now)).transpose()
    }

    /// The token to replace an older one by: of the next key, if there is one.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn renew(&self, launch: &LaunchId, now: Timestamp) -> Result<AgentToken, TokenError> {
        self.sign(self.newest_key(), launch, now)
    }

    fn newest_key(&self) -> &Key {
        self.next_key.as_ref().unwrap_or(&self.key)
    }

    /// It has no `iat`: Hasura refuses a token that was issued in its future, and its clock may be
    /// behind this one by seconds.
    fn sign(&self, key: &Key, launch: &LaunchId, now: Timestamp) -> Result<AgentToken, TokenError> {
        let valid_until = now + self.valid_for;
        let expires_at = valid_until.as_second();
        let token_id = TokenId::new(format!("{}-{expires_at}", key.id));
        let claims = json!({
            "sub": launch,
            "exp": expires_at,
            "https://hasura.io/jwt/claims": {
                "x-hasura-default-role": "host_agent",
                "x-hasura-allowed-roles": ["host_agent"],
                "x-hasura-launch-id": launch,
                "x-hasura-token-id": token_id,
            },
        });
        let header = Header::new(Algorithm::HS256);
        let token = jsonwebtoken::encode(&header, &claims, &encoding(&key.secret))?;
        Ok(AgentToken {
            token: token.into(),
            token_id,
            key_id: key.id.clone(),
            valid_until,
        })
    }
}

fn encoding(key: &SecretString) -> EncodingKey {
    EncodingKey::from_secret(key.expose_secret().as_bytes())
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, decode};
    use serde_json::Value;

    use super::*;

    const KEY: &str = "a key of more than thirty-two bytes";
    const NEXT: &str = "another key of more than thirty-two bytes";
    const NOW: &str = "2100-01-01T00:00:00Z";

    fn tokens() -> AgentTokens {
        AgentTokens::new(KEY.to_owned().into(), SignedDuration::from_hours(24)).unwrap()
    }

    fn claims(token: &AgentToken, key: &str) -> Option<Value> {
        let key = DecodingKey::from_secret(key.as_bytes());
        let token = token.token.expose_secret();
        let decoded = decode::<Value>(token, &key, &Validation::new(Algorithm::HS256)).ok()?;
        Some(decoded.claims)
    }

    #[test]
    fn token_says_until_when_it_is_valid_and_not_from_when() {
        let now: Timestamp = NOW.parse().unwrap();
        let token = tokens().mint(&LaunchId::new("launch-1"), now).unwrap();
        let claims = claims(&token, KEY).unwrap();
        assert_eq!(claims["exp"], now.as_second() + 24 * 60 * 60);
        assert_eq!(token.valid_until, now + SignedDuration::from_hours(24));
        let hasura = &claims["https://hasura.io/jwt/claims"];
        assert_eq!(hasura["x-hasura-launch-id"], "launch-1");
        assert_eq!(hasura["x-hasura-token-id"], token.token_id.as_str());
        for refused_if_in_the_future in ["iat", "nbf"] {
            assert_eq!(claims.get(refused_if_in_the_future), None);
        }
    }

    #[test]
    fn next_key_signs_renewed_tokens_and_the_second_token_of_a_launch() {
        let now: Timestamp = NOW.parse().unwrap();
        let launch = LaunchId::new("launch-1");
        assert!(tokens().mint_next(&launch, now).unwrap().is_none());
        let renewed = tokens().renew(&launch, now).unwrap();
        assert!(claims(&renewed, KEY).is_some());

        let rotating = tokens().with_next_key(NEXT.to_owned().into()).unwrap();
        let first = rotating.mint(&launch, now).unwrap();
        let second = rotating.mint_next(&launch, now).unwrap().unwrap();
        let renewed = rotating.renew(&launch, now).unwrap();
        assert!(claims(&first, KEY).is_some());
        assert!(claims(&second, KEY).is_none() && claims(&second, NEXT).is_some());
        assert!(claims(&renewed, KEY).is_none() && claims(&renewed, NEXT).is_some());
        assert_eq!(renewed.key_id, rotating.policy().key);
        assert_ne!(renewed.key_id, tokens().policy().key);
        assert_ne!(first.token_id, second.token_id);
    }

    #[test]
    fn tokens_and_keys_are_not_in_debug_output() {
        let now: Timestamp = NOW.parse().unwrap();
        let token = tokens().mint(&LaunchId::new("launch-1"), now).unwrap();
        let shown = format!("{:?} {token:?}", tokens());
        assert!(!shown.contains(KEY) && !shown.contains("eyJ"), "{shown}");
    }
}
