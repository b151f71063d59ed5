use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde_json::json;

use super::*;

/// An odd number of `bits` bits.
fn modulus(bits: usize) -> Vec<u8> {
    let mut bytes = vec![0xa5; bits / 8];
    bytes[0] = 0x80;
    bytes
}

fn rsa(id: &str) -> Value {
    json!({"kty": "RSA", "kid": id, "n": URL_SAFE_NO_PAD.encode(modulus(2048)), "e": "AQAB"})
}

fn ec(id: &str) -> Value {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = pair.public_key().as_ref();
    json!({"kty": "EC", "crv": "P-256", "kid": id,
           "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..])})
}

fn with(mut key: Value, field: &str, value: impl Into<Value>) -> Value {
    key[field] = value.into();
    key
}

fn parse(keys: &[Value]) -> Result<KeySet, BadKeySet> {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
}

#[track_caller]
fn is_usable(key: &Value) {
    let set = parse(std::slice::from_ref(key));
    assert!(set.is_ok(), "{key}: {}", set.unwrap_err());
}

/// What is said about a key that is skipped among others.
#[track_caller]
fn skipped(key: &Value) -> String {
    let set = parse(&[rsa("good"), key.clone(), ec("good too")]).unwrap();
    assert_eq!(set.find(Some("good")).len(), 1);
    assert_eq!(set.find(Some("good too")).len(), 1);
    assert_eq!(set.skipped.0.len(), 1, "{key}");
    set.skipped.to_string()
}

#[test]
fn key_determines_its_algorithm() {
    let set = parse(&[rsa("r"), with(ec("e"), "use", "sig")]).unwrap();
    assert_eq!(set.find(Some("r"))[0].algorithm, Algorithm::RS256);
    assert_eq!(set.find(Some("e"))[0].algorithm, Algorithm::ES256);
    assert!(set.find(Some("x")).is_empty());
}

#[test]
fn missing_key_id_means_the_only_key() {
    assert_eq!(parse(&[rsa("r")]).unwrap().find(None).len(), 1);
    assert!(parse(&[rsa("r"), ec("e")]).unwrap().find(None).is_empty());
}

/// The fields of a signature key as each provider publishes them.
#[test]
fn keys_of_well_known_providers_are_usable() {
    let n = rsa("k")["n"].clone();
    let keys = [
        // Auth0, Keycloak
        json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k", "n": n, "e": "AQAB",
               "x5c": ["MIIDDTCCAfWgAwIBAgIJ"], "x5t": "NjVBRjY5", "x5t#S256": "abc"}),
        // Cognito, Google, Firebase, Okta, Clerk, Ory
        json!({"alg": "RS256", "e": "AQAB", "kid": "public:hydra.jwt", "kty": "RSA", "n": n,
               "use": "sig"}),
        // Entra ID: no `alg`, and fields of its own
        json!({"kty": "RSA", "use": "sig", "kid": "k", "x5t": "k", "n": n, "e": "AQAB",
               "x5c": ["MIIC"], "cloud_instance_name": "microsoftonline.com", "issuer": "https://x/v2.0"}),
        // Supabase, and others that export from the Web Crypto API
        with(with(ec("k"), "key_ops", json!(["verify"])), "ext", true),
        with(with(ec("k"), "alg", "ES256"), "use", "sig"),
        // Values that say nothing
        with(with(rsa("k"), "alg", Value::Null), "use", ""),
        with(rsa("k"), "key_ops", json!([])),
        with(rsa("k"), "x5c", "not a list"),
        with(rsa("k"), "kid", 7),
    ];
    for key in &keys {
        is_usable(key);
    }
    assert_eq!(parse(&keys[8..]).unwrap().find(Some("7")).len(), 1);
}

#[test]
fn numbers_with_zero_bytes_and_padding_are_read() {
    let with_zero = [vec![0], modulus(2048)].concat();
    for n in [
        URL_SAFE_NO_PAD.encode(&with_zero),
        STANDARD.encode(&with_zero),
        STANDARD.encode(modulus(2048)),
    ] {
        is_usable(&with(with(rsa("k"), "n", n), "e", "AAEAAQ=="));
    }
}

/// A coordinate of 32 bytes begins with a zero byte once in 256 keys. Some libraries drop it, and
/// others put one in front of coordinates whose first bit is set.
#[test]
fn coordinates_of_any_length_are_read() {
    let coordinate = |key: &Value, field: &str| {
        URL_SAFE_NO_PAD
            .decode(key[field].as_str().unwrap())
            .unwrap()
    };
    let short = std::iter::repeat_with(|| ec("k")).find(|key| coordinate(key, "x")[0] == 0);
    let short = short.unwrap();
    let x = coordinate(&short, "x");
    is_usable(&with(short.clone(), "x", URL_SAFE_NO_PAD.encode(&x[1..])));
    let long = URL_SAFE_NO_PAD.encode([&[0], x.as_slice()].concat());
    is_usable(&with(short, "x", long));
}

#[test]
fn byte_order_mark_is_skipped() {
    let text = format!("\u{feff}{}", json!({"keys": [rsa("k")]}));
    assert!(KeySet::parse(text.as_bytes()).is_ok());
}

#[test]
fn keys_of_different_types_may_have_the_same_id() {
    let set = parse(&[rsa("k"), ec("k"), rsa("other")]).unwrap();
    let found = set.find(Some("k"));
    let algorithms: Vec<_> = found.iter().map(|key| key.algorithm).collect();
    assert_eq!(algorithms, [Algorithm::RS256, Algorithm::ES256]);
}

#[test]
fn unusable_key_is_skipped_and_named_with_the_reason() {
    for (key, words) in [
        (with(rsa("a"), "use", "enc"), "`use` `enc`"),
        (
            with(rsa("a"), "key_ops", json!(["encrypt", 7])),
            "`key_ops`",
        ),
        (with(rsa("a"), "alg", "RS512"), "`alg` `RS512`"),
        (with(rsa("a"), "alg", "RSA-OAEP"), "`alg` `RSA-OAEP`"),
        (with(ec("a"), "alg", "RS256"), "ES256 is supported"),
        (with(ec("a"), "crv", "P-384"), "`crv` `P-384`"),
        (with(ec("a"), "crv", Value::Null), "`crv` ``"),
        (with(ec("a"), "x", "AQAB"), "not a valid public key"),
        (with(ec("a"), "y", "_".repeat(60)), "wrong `y`"),
        (
            with(rsa("a"), "n", "not base64!"),
            "wrong `n`: it is not base64url",
        ),
        (with(rsa("a"), "n", Value::Null), "wrong `n`: it is missing"),
        (with(rsa("a"), "e", "AA"), "wrong `e`: it is zero"),
        (
            with(rsa("a"), "n", URL_SAFE_NO_PAD.encode(modulus(1024))),
            "1024 bits",
        ),
        (
            with(rsa("a"), "n", URL_SAFE_NO_PAD.encode(modulus(16_384))),
            "16384 bits",
        ),
        (
            json!({"kty": "oct", "kid": "a", "k": "AQAB"}),
            "`kty` `oct`",
        ),
        (
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "AQAB"}),
            "`kty` `OKP`",
        ),
        (json!({"kty": ["RSA"], "kid": "a"}), "no `kty`"),
    ] {
        let text = skipped(&key);
        assert!(
            text.starts_with("key `a` ") && text.contains(words),
            "{key}: {text}"
        );
    }
    for key in [
        json!("?"),
        Value::Null,
        json!({}),
        json!({"kid": null, "kty": "RSA"}),
    ] {
        let text = skipped(&key);
        assert!(text.starts_with("key 2, which has no id, "), "{text}");
    }
}

#[test]
fn text_about_skipped_keys_is_bounded_and_printable() {
    let hostile = format!("a\n{}", "x".repeat(10_000));
    let key = with(rsa(&hostile), "use", hostile.as_str());
    let set = parse(&[&vec![key; 500][..], &[rsa("good")]].concat()).unwrap();
    let text = set.skipped.to_string();
    assert!(text.len() < 3000 && !text.contains('\n'), "{text}");
    assert!(text.ends_with("; and 490 others"), "{text}");
}

#[test]
fn set_without_a_usable_key_says_why() {
    let error = parse(&[with(rsa("a"), "use", "enc"), Value::Null]).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("key `a` has the `use` `enc`"), "{text}");
    assert!(
        text.contains("key 2, which has no id, is not a JSON object"),
        "{text}"
    );
    assert_eq!(
        parse(&[]).unwrap_err().to_string(),
        "the key set has no keys"
    );
}

#[test]
fn document_that_is_not_a_key_set_is_rejected_with_the_likely_mistake() {
    for (bad, words) in [
        ("", "not JSON"),
        ("<html>", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "no field `keys`"),
        (r#"{"keys": {}}"#, "not a list"),
        (r#"{"issuer": "x", "jwks_uri": "y"}"#, "its `jwks_uri`"),
        (r#"{"kty": "RSA"}"#, "a single key"),
        (r#"{"a1": "-----BEGIN CERTIFICATE-----\n"}"#, "certificates"),
    ] {
        let error = KeySet::parse(bad.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(words), "{bad}: {error}");
    }
}
