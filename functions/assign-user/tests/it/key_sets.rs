//! Key sets as identity providers really send them, and answers that are compressed unasked.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use testing::Log;
use tracing::Level;

use crate::support::{Reply, Token, World, ec_jwk, other_rsa_jwk, rsa_jwk, signed_modulus};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

#[tokio::test]
async fn key_with_signed_padded_numbers_and_without_alg_verifies_tokens() {
    let world = World::new().await;
    let key = json!({"kty": "RSA", "kid": "rsa-1", "n": signed_modulus(), "e": "AAEAAQ==",
                     "x5c": ["MIIC"], "issuer": "https://login.example/v2.0"});
    let text = String::from_utf8(set(&[key])).unwrap();
    world.provider.answers(200, format!("\u{feff}{text}"));
    let token = Token::of("auth0|ada").rs256();
    assert_eq!(world.send_token(&token).await.status, 200);
}

#[tokio::test]
async fn keys_with_one_id_verify_the_tokens_of_each() {
    let world = World::new().await;
    world
        .provider
        .has(&[other_rsa_jwk("rsa-1"), ec_jwk("rsa-1"), rsa_jwk("rsa-1")]);
    let token = Token::of("auth0|ada");
    assert_eq!(world.send_token(&token.rs256()).await.status, 200);
    assert_eq!(
        world.send_token(&token.rs256_by_another()).await.status,
        200
    );
    let ec = token.clone().header("alg", "ES256");
    assert_eq!(world.send_token(&ec.es256()).await.status, 200);
    let forged = ec.signed_with(|_| vec![1; 64]);
    world
        .send_token(&forged)
        .await
        .is(401, "UNAUTHORIZED")
        .says("wrong signature");
    assert_eq!(world.provider.fetches(), 1);
}

#[tokio::test]
async fn unusable_keys_are_skipped_with_one_warning() {
    let world = World::new().await;
    let log = Log::start(Level::TRACE);
    let encryption =
        json!({"kty": "RSA", "use": "enc", "alg": "RSA-OAEP", "kid": "for-encryption"});
    let broken = json!({"kty": "RSA", "kid": "broken", "n": "not base64!", "e": "AQAB"});
    let hydra = json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": "AQAB"});
    let keys = [encryption, broken, hydra, rsa_jwk("rsa-1")];
    world.provider.has(&keys);
    let token = Token::of("auth0|ada").rs256();
    assert_eq!(world.send_token(&token).await.status, 200);
    log.says(&[
        "WARN",
        "keys of JWKS_URL skipped",
        "key `for-encryption` has the `use` `enc`",
        "key `broken` has a wrong `n`",
        "key `ed` has the `kty` `OKP`",
    ]);
    world.pass(3600);
    assert_eq!(world.send_token(&token).await.status, 200);
    assert_eq!(world.provider.fetches(), 2);
    assert_eq!(log.text().matches("keys of JWKS_URL skipped").count(), 1);

    world.provider.has(&keys[1..]);
    world.pass(3600);
    assert_eq!(world.send_token(&token).await.status, 200);
    assert_eq!(log.text().matches("keys of JWKS_URL skipped").count(), 2);
}

#[tokio::test]
async fn key_set_that_is_compressed_unasked_is_decoded() {
    let world = World::new().await;
    let keys = set(&[rsa_jwk("rsa-1")]);
    world.provider.answers_in("gzip", gzip(&keys));
    let token = Token::of("auth0|ada").rs256();
    assert_eq!(world.send_token(&token).await.status, 200);
    assert_eq!(world.provider.accepted_codings(), ["identity"]);
}

#[tokio::test]
async fn key_set_that_cannot_be_read_says_why_in_the_log() {
    let bomb = gzip(&vec![b' '; 20_000_000]);
    for (coding, body, words) in [
        ("br", set(&[rsa_jwk("rsa-1")]), "content coding `br`"),
        ("gzip", set(&[rsa_jwk("rsa-1")]), "content coding is gzip"),
        ("gzip", bomb, "larger than"),
        ("identity", set(&[]), "no keys"),
        (
            "identity",
            br#"{"jwks_uri": "https://x"}"#.to_vec(),
            "its `jwks_uri`",
        ),
    ] {
        let world = World::new().await;
        let log = Log::start(Level::TRACE);
        world.provider.answers_in(coding, body);
        let token = Token::of("auth0|ada").rs256();
        world
            .send_token(&token)
            .await
            .is(503, "SERVICE_UNAVAILABLE");
        log.says(&["key fetch from JWKS_URL failed", words]);
    }
}

#[tokio::test]
async fn answer_of_hasura_that_is_compressed_unasked_is_decoded() {
    let world = World::new().await;
    let Reply::Status(200, body) = Reply::assigned("us-west-2") else {
        panic!("an answer")
    };
    world.hasura.then(Reply::Gzip(gzip(body.as_bytes())));
    let answer = world.send_token(&Token::of("auth0|ada").rs256()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["region"], "us-west-2");
    let accepted = &world.hasura.requests()[0].accepted_coding;
    assert_eq!(accepted.as_deref(), Some("identity"));
}
