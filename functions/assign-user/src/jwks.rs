//! Parses a JSON Web Key Set (RFC 7517) into the keys that verify tokens. No I/O.
//!
//! A set is read as leniently as its meaning allows, because providers differ from the standard and
//! from each other, and nobody here can change them. A key that cannot be used is skipped, and said
//! to be: one of them must not keep all users out.

mod key;
mod number;

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};
use thiserror::Error;

use key::Unusable;
pub(crate) use key::VerificationKey;

/// Keys that an error or the log names; the others are counted.
const MOST_NAMED: usize = 10;

/// The longest part of a provider's text that is shown.
const LONGEST_TEXT: usize = 64;

#[derive(Debug, Error)]
pub(crate) enum BadKeySet {
    #[error("the answer is not JSON: {0}")]
    NotJson(#[source] serde_json::Error),
    #[error("the answer is not a JSON Web Key Set: {0}")]
    NotAKeySet(&'static str),
    #[error("the key set has no keys")]
    Empty,
    #[error("the key set has no usable key: {0}")]
    NoUsableKey(SkippedKeys),
}

/// At least one key.
#[derive(Debug)]
pub(crate) struct KeySet {
    keys: Vec<Arc<VerificationKey>>,
    pub(crate) skipped: SkippedKeys,
}

/// The keys of a set that cannot be used, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SkippedKeys(Vec<SkippedKey>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct SkippedKey {
    /// From 1, because a key may have no id.
    number: usize,
    id: Option<String>,
    why: Unusable,
}

impl KeySet {
    /// # Errors
    /// When `json` is not a key set, or none of its keys can be used.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, BadKeySet> {
        let entries = entries(json)?;
        if entries.is_empty() {
            return Err(BadKeySet::Empty);
        }
        let mut keys = Vec::new();
        let mut skipped = SkippedKeys::default();
        for (place, entry) in entries.iter().enumerate() {
            match VerificationKey::parse(entry) {
                Ok(key) => keys.push(Arc::new(key)),
                Err(why) => skipped.0.push(SkippedKey {
                    number: place + 1,
                    id: key::id(entry).map(|id| shown(&id)),
                    why,
                }),
            }
        }
        if keys.is_empty() {
            return Err(BadKeySet::NoUsableKey(skipped));
        }
        Ok(Self { keys, skipped })
    }

    /// The keys with this id. Without an id, the key of a set that has only one.
    ///
    /// Keys of different types may have the same id (RFC 7517, section 4.5), and some providers give
    /// several keys of one type the same one.
    pub(crate) fn find(&self, id: Option<&str>) -> Vec<Arc<VerificationKey>> {
        match (id, self.keys.as_slice()) {
            (Some(id), keys) => keys
                .iter()
                .filter(|key| key.id.as_deref() == Some(id))
                .cloned()
                .collect(),
            (None, [only]) => vec![Arc::clone(only)],
            (None, _) => Vec::new(),
        }
    }
}

/// The items of the document's `keys`.
fn entries(json: &[u8]) -> Result<Vec<Value>, BadKeySet> {
    // Files from editors on Windows begin with a byte order mark.
    let json = json.strip_prefix("\u{feff}".as_bytes()).unwrap_or(json);
    let document: Value = serde_json::from_slice(json).map_err(BadKeySet::NotJson)?;
    let Value::Object(mut document) = document else {
        return Err(BadKeySet::NotAKeySet("it is not a JSON object"));
    };
    match document.remove("keys") {
        Some(Value::Array(keys)) => Ok(keys),
        Some(_) => Err(BadKeySet::NotAKeySet("its field `keys` is not a list")),
        None => Err(BadKeySet::NotAKeySet(likely_mistake(&document))),
    }
}

/// What a document without `keys` is, for whoever set the wrong address.
fn likely_mistake(document: &Map<String, Value>) -> &'static str {
    let is_certificate = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        text.starts_with("-----BEGIN CERTIFICATE")
    };
    if document.contains_key("jwks_uri") {
        "it is an OpenID configuration: set JWKS_URL to its `jwks_uri`"
    } else if document.contains_key("kty") {
        "it is a single key: JWKS_URL must name a set, with a field `keys`"
    } else if document.values().any(is_certificate) {
        "it holds certificates: set JWKS_URL to the provider's address of JSON Web Keys"
    } else {
        "it has no field `keys`"
    }
}

impl SkippedKeys {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for SkippedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, SkippedKey { number, id, why }) in self.0.iter().take(MOST_NAMED).enumerate() {
            if place > 0 {
                f.write_str("; ")?;
            }
            match id {
                Some(id) => write!(f, "key `{id}` {why}")?,
                None => write!(f, "key {number}, which has no id, {why}")?,
            }
        }
        match self.0.len().saturating_sub(MOST_NAMED) {
            0 => Ok(()),
            others => write!(f, "; and {others} others"),
        }
    }
}

/// A provider's text as logs can have it.
fn shown(text: &str) -> String {
    let printable = |c: char| {
        if c.is_ascii_graphic() || c == ' ' {
            c
        } else {
            '?'
        }
    };
    text.chars().take(LONGEST_TEXT).map(printable).collect()
}

#[cfg(test)]
mod tests;
