//! Parses a JSON Web Key Set into the keys that verify tokens. No I/O.

use std::fmt;
use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use thiserror::Error;

/// A public key and its algorithm. The algorithm is the key's and not the token's: a token that
/// names HMAC could otherwise use the public key as the secret.
pub(crate) struct VerificationKey {
    id: Option<String>,
    pub(crate) algorithm: Algorithm,
    pub(crate) key: DecodingKey,
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Error)]
pub(crate) enum BadKeySet {
    #[error("the answer is not a JSON Web Key Set: {0}")]
    NotAKeySet(#[source] serde_json::Error),
    #[error("none of its {0} keys is an RS256 or ES256 signature key")]
    NoUsableKey(usize),
}

/// At least one key.
#[derive(Debug)]
pub(crate) struct KeySet(Vec<Arc<VerificationKey>>);

impl KeySet {
    /// Skips keys that it cannot use: a set may contain keys for other purposes, and one unknown
    /// key must not keep all users out.
    ///
    /// # Errors
    /// When `json` is not a key set, or none of its keys can be used.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, BadKeySet> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<serde_json::Value>,
        }
        let Document { keys } = serde_json::from_slice(json).map_err(BadKeySet::NotAKeySet)?;
        let offered = keys.len();
        let usable: Vec<_> = keys
            .into_iter()
            .filter_map(|key| serde_json::from_value(key).ok())
            .filter_map(|jwk: Jwk| usable(&jwk))
            .map(Arc::new)
            .collect();
        if usable.is_empty() {
            Err(BadKeySet::NoUsableKey(offered))
        } else {
            Ok(Self(usable))
        }
    }

    /// The key with this id. Without an id, the key of a set that has only one.
    pub(crate) fn find(&self, id: Option<&str>) -> Option<Arc<VerificationKey>> {
        match (id, self.0.as_slice()) {
            (Some(id), keys) => keys
                .iter()
                .find(|key| key.id.as_deref() == Some(id))
                .cloned(),
            (None, [only]) => Some(Arc::clone(only)),
            (None, _) => None,
        }
    }
}

fn usable(jwk: &Jwk) -> Option<VerificationKey> {
    let for_signatures = matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    );
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        _ => return None,
    };
    let for_algorithm = jwk.common.key_algorithm.is_none_or(|alg| alg == named);
    if !(for_signatures && for_algorithm) {
        return None;
    }
    let key = DecodingKey::from_jwk(jwk).ok()?;
    Some(VerificationKey {
        id: jwk.common.key_id.clone(),
        algorithm,
        key,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rsa(id: &str) -> Value {
        json!({"kty": "RSA", "kid": id, "n": "AQAB", "e": "AQAB"})
    }

    fn ec(id: &str) -> Value {
        json!({"kty": "EC", "crv": "P-256", "kid": id, "x": "AQAB", "y": "AQAB"})
    }

    fn with(mut key: Value, field: &str, value: &str) -> Value {
        key[field] = value.into();
        key
    }

    fn parse(keys: &[Value]) -> Result<KeySet, BadKeySet> {
        KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
    }

    #[test]
    fn key_determines_its_algorithm() {
        let set = parse(&[rsa("r"), with(ec("e"), "use", "sig")]).unwrap();
        assert_eq!(set.find(Some("r")).unwrap().algorithm, Algorithm::RS256);
        assert_eq!(set.find(Some("e")).unwrap().algorithm, Algorithm::ES256);
        assert!(set.find(Some("x")).is_none());
    }

    #[test]
    fn missing_key_id_means_the_only_key() {
        assert!(parse(&[rsa("r")]).unwrap().find(None).is_some());
        assert!(parse(&[rsa("r"), ec("e")]).unwrap().find(None).is_none());
    }

    #[test]
    fn keys_for_other_purposes_are_skipped() {
        let others = [
            with(rsa("a"), "use", "enc"),
            with(rsa("b"), "alg", "RS512"),
            with(rsa("c"), "alg", "PS256"),
            with(ec("d"), "crv", "P-384"),
            with(ec("e"), "crv", "secp256k1"),
            with(rsa("f"), "n", "not base64!"),
            json!({"kty": "oct", "kid": "g", "k": "AQAB", "alg": "HS256"}),
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "h", "x": "AQAB"}),
            json!({"kid": 7}),
            json!("?"),
            Value::Null,
        ];
        assert!(matches!(parse(&others), Err(BadKeySet::NoUsableKey(11))));
        let set = parse(&[&others[..], &[rsa("good")]].concat()).unwrap();
        assert!(set.find(Some("good")).is_some());
        assert!(set.find(Some("g")).is_none());
    }

    #[test]
    fn document_that_is_not_a_key_set_is_rejected() {
        for bad in [&b""[..], b"<html>", b"{}", b"[]", br#"{"keys": {}}"#] {
            assert!(
                matches!(KeySet::parse(bad), Err(BadKeySet::NotAKeySet(_))),
                "{bad:?}"
            );
        }
    }
}
