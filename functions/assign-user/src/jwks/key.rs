//! One key of a set (RFC 7517, section 4, and RFC 7518, section 6).

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;
use thiserror::Error;

use super::number::{self, NotANumber};
use super::shown;

/// Shorter keys can be broken. Longer ones would let a token take seconds to verify.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The bytes of a coordinate of P-256.
const P256_BYTES: usize = 32;

/// A public key and its algorithm. The algorithm is the key's and not the token's: a token that
/// names HMAC could otherwise use the public key as the secret.
pub(crate) struct VerificationKey {
    pub(super) id: Option<String>,
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

/// Why a key verifies no tokens. The texts continue "key `ID` …".
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Unusable {
    #[error("is not a JSON object")]
    NotAnObject,
    #[error("has no `kty`")]
    NoType,
    #[error("has the `kty` `{0}`: RSA and EC are supported")]
    Type(String),
    #[error("has the `use` `{0}`: only `sig` is for tokens")]
    Use(String),
    #[error("has `key_ops` without `verify`")]
    Operations,
    #[error("has the `alg` `{named}`: of a key of this type, {expected} is supported")]
    Algorithm {
        named: String,
        expected: &'static str,
    },
    #[error("has the `crv` `{0}`: P-256 is supported")]
    Curve(String),
    #[error("has a wrong `{field}`: {problem}")]
    Number {
        field: &'static str,
        problem: NotANumber,
    },
    #[error("has {0} bits: 2048 to 8192 are supported")]
    Bits(usize),
    #[error("is not a valid public key")]
    Invalid,
}

impl VerificationKey {
    /// A field that is null or empty counts as missing, and one that is not about the key itself,
    /// such as its certificates, is not read.
    pub(super) fn parse(jwk: &Value) -> Result<Self, Unusable> {
        if !jwk.is_object() {
            return Err(Unusable::NotAnObject);
        }
        let (algorithm, name) = match text(jwk, "kty") {
            Some("RSA") => (Algorithm::RS256, "RS256"),
            Some("EC") => (Algorithm::ES256, "ES256"),
            Some(other) => return Err(Unusable::Type(shown(other))),
            None => return Err(Unusable::NoType),
        };
        check_purpose(jwk)?;
        // Entra ID (Azure AD) names no algorithm.
        if let Some(named) = text(jwk, "alg").filter(|named| *named != name) {
            return Err(Unusable::Algorithm {
                named: shown(named),
                expected: name,
            });
        }
        let key = match algorithm {
            Algorithm::ES256 => ec_key(jwk)?,
            _ => rsa_key(jwk)?,
        };
        Ok(Self {
            id: id(jwk),
            algorithm,
            key,
        })
    }
}

/// The `kid`. A number, which some providers send, counts as its text.
pub(super) fn id(jwk: &Value) -> Option<String> {
    match jwk.get("kid")? {
        Value::String(id) if !id.is_empty() => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

fn text<'j>(jwk: &'j Value, field: &str) -> Option<&'j str> {
    let text = jwk.get(field)?.as_str()?;
    (!text.is_empty()).then_some(text)
}

/// `use` and `key_ops` say what a key is for. Keycloak publishes keys for encryption beside those for
/// signatures.
fn check_purpose(jwk: &Value) -> Result<(), Unusable> {
    if let Some(other) = text(jwk, "use").filter(|purpose| *purpose != "sig") {
        return Err(Unusable::Use(shown(other)));
    }
    let Some(operations) = jwk.get("key_ops").and_then(Value::as_array) else {
        return Ok(());
    };
    // A public key with `sign` describes the pair: its private half signs.
    let for_signatures = |operation: &Value| matches!(operation.as_str(), Some("verify" | "sign"));
    if operations.is_empty() || operations.iter().any(for_signatures) {
        Ok(())
    } else {
        Err(Unusable::Operations)
    }
}

fn rsa_key(jwk: &Value) -> Result<DecodingKey, Unusable> {
    let n = number(jwk, "n")?;
    let e = number(jwk, "e")?;
    let bits = number::bits(&n);
    if !RSA_BITS.contains(&bits) {
        return Err(Unusable::Bits(bits));
    }
    RsaPublicKeyComponents { n: &n, e: &e }
        .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
        .map_err(|_| Unusable::Invalid)?;
    Ok(DecodingKey::from_rsa_raw_components(&n, &e))
}

fn ec_key(jwk: &Value) -> Result<DecodingKey, Unusable> {
    match text(jwk, "crv") {
        Some("P-256") => {}
        other => return Err(Unusable::Curve(shown(other.unwrap_or_default()))),
    }
    let coordinate = |field| {
        let bytes = number(jwk, field)?;
        number::padded(&bytes, P256_BYTES).ok_or(Unusable::Number {
            field,
            problem: NotANumber::TooLong,
        })
    };
    // The uncompressed form (SEC 1, section 2.3.3).
    let point = [vec![4], coordinate("x")?, coordinate("y")?].concat();
    ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.as_slice())
        .map_err(|_| Unusable::Invalid)?;
    Ok(DecodingKey::from_ec_der(&point))
}

fn number(jwk: &Value, field: &'static str) -> Result<Vec<u8>, Unusable> {
    let text = text(jwk, field).ok_or(NotANumber::Missing);
    text.and_then(number::decode)
        .map_err(|problem| Unusable::Number { field, problem })
}
