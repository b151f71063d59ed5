//! Which tokens are accepted, and how often the provider's keys are fetched.

use aws_lc_rs::hmac;
use serde_json::{Value, json};
use testing::Log;
use tracing::Level;

use crate::support::{
    AUDIENCE, Answer, KEYS_KEPT, Request, Token, World, ec_jwk, now, rsa_jwk, rsa_public_key,
};

#[track_caller]
fn refused(answer: &Answer, why: &str) {
    answer.is(401, "UNAUTHORIZED").says(why);
    assert_eq!(
        answer.headers["www-authenticate"],
        r#"Bearer error="invalid_token""#
    );
}

#[tokio::test]
async fn rs256_and_es256_are_accepted() {
    let world = World::new().await;
    let rsa = Token::of("auth0|ada");
    assert_eq!(world.send_token(&rsa.rs256()).await.status, 200);
    let ec = rsa.header("alg", "ES256").header("kid", "ec-1");
    assert_eq!(world.send_token(&ec.es256()).await.status, 200);
    assert_eq!(world.provider.fetches(), 1);
    let users: Vec<Value> = world
        .hasura
        .requests()
        .iter()
        .map(|request| request.variables["user_id"].clone())
        .collect();
    assert_eq!(users, ["auth0|ada", "auth0|ada"]);
}

#[tokio::test]
async fn missing_token_is_challenged() {
    let world = World::new().await;
    let answer = world
        .send(&Request::good().without_header("authorization"))
        .await;
    answer.is(401, "UNAUTHORIZED").says("Authorization: Bearer");
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
    for value in ["", "Bearer", "Basic dTpw", "Bearer \u{e9}"] {
        world
            .send(&Request::good().header("authorization", value))
            .await
            .is(401, "UNAUTHORIZED");
    }
    assert_eq!(world.provider.fetches(), 0);
}

#[tokio::test]
async fn malformed_token_is_rejected_without_a_key_fetch() {
    let world = World::new().await;
    for token in [
        "a",
        "a.b",
        "a.b.c",
        "....",
        "e30.e30.e30",
        &"x".repeat(20_000),
    ] {
        refused(&world.send_token(token).await, "the token is");
    }
    assert_eq!(world.provider.fetches(), 0);
}

#[tokio::test]
async fn token_with_alg_none_is_rejected() {
    let world = World::new().await;
    for alg in ["none", "None", "NONE", ""] {
        let token = Token::of("auth0|eve").header("alg", alg);
        refused(
            &world.send_token(&token.signed_with(|_| Vec::new())).await,
            "RS256 or ES256",
        );
        refused(&world.send_token(&token.rs256()).await, "RS256 or ES256");
    }
}

#[tokio::test]
async fn hmac_with_the_public_key_is_rejected() {
    let world = World::new().await;
    for secret in [rsa_public_key(), rsa_jwk("rsa-1").to_string().into_bytes()] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let forged = Token::of("auth0|eve")
            .header("alg", "HS256")
            .signed_with(|message| hmac::sign(&key, message).as_ref().to_vec());
        refused(&world.send_token(&forged).await, "RS256 or ES256");
        let mislabelled = Token::of("auth0|eve")
            .signed_with(|message| hmac::sign(&key, message).as_ref().to_vec());
        refused(&world.send_token(&mislabelled).await, "wrong signature");
    }
}

#[tokio::test]
async fn algorithm_of_another_key_is_rejected() {
    let world = World::new().await;
    let swapped = Token::of("auth0|eve").header("alg", "ES256");
    refused(
        &world.send_token(&swapped.rs256()).await,
        "another algorithm than its key has",
    );
    refused(
        &world.send_token(&swapped.es256()).await,
        "another algorithm than its key has",
    );
}

#[tokio::test]
async fn wrong_signature_is_rejected() {
    let world = World::new().await;
    let token = Token::of("auth0|eve");
    refused(
        &world.send_token(&token.rs256_by_another()).await,
        "wrong signature",
    );
    refused(
        &world.send_token(&token.signed_with(|_| Vec::new())).await,
        "wrong signature",
    );
    let ec = Token::of("auth0|eve")
        .header("alg", "ES256")
        .header("kid", "ec-1");
    refused(
        &world.send_token(&ec.signed_with(|_| vec![0; 64])).await,
        "wrong signature",
    );
}

#[tokio::test]
async fn key_in_the_token_is_not_used() {
    let world = World::new().await;
    let token = Token::of("auth0|eve")
        .header("jwk", rsa_jwk("mine"))
        .header("jku", "https://evil.example/keys")
        .header("kid", "mine");
    refused(&world.send_token(&token.rs256()).await, "unknown key");
}

#[tokio::test]
async fn other_issuer_and_audience_are_rejected() {
    let world = World::new().await;
    let token = || Token::of("auth0|ada");
    refused(
        &world
            .send_token(&token().claim("iss", "https://evil/").rs256())
            .await,
        "issuer",
    );
    refused(
        &world.send_token(&token().without("iss").rs256()).await,
        "`iss`",
    );
    refused(
        &world
            .send_token(&token().claim("aud", "https://other").rs256())
            .await,
        "audience",
    );
    refused(
        &world
            .send_token(&token().claim("aud", json!(["x", "y"])).rs256())
            .await,
        "audience",
    );
    refused(
        &world
            .send_token(&token().claim("aud", json!([])).rs256())
            .await,
        "audience",
    );
    refused(
        &world.send_token(&token().without("aud").rs256()).await,
        "`aud`",
    );
    let listed = token().claim("aud", json!(["https://other", AUDIENCE]));
    assert_eq!(world.send_token(&listed.rs256()).await.status, 200);
}

#[tokio::test]
async fn token_is_valid_in_its_time_with_a_small_leeway() {
    let world = World::new().await;
    let token = || Token::of("auth0|ada");
    refused(
        &world
            .send_token(&token().claim("exp", now() - 60).rs256())
            .await,
        "expired",
    );
    refused(
        &world
            .send_token(&token().claim("exp", "tomorrow").rs256())
            .await,
        "`exp`",
    );
    refused(
        &world.send_token(&token().without("exp").rs256()).await,
        "`exp`",
    );
    refused(
        &world
            .send_token(&token().claim("nbf", now() + 60).rs256())
            .await,
        "not valid yet",
    );
    let edge = token().claim("exp", now() - 10).claim("nbf", now() + 10);
    assert_eq!(world.send_token(&edge.rs256()).await.status, 200);
}

#[tokio::test]
async fn critical_header_parameter_is_rejected() {
    let world = World::new().await;
    let token = Token::of("auth0|ada")
        .header("crit", json!(["b64"]))
        .header("b64", false);
    refused(&world.send_token(&token.rs256()).await, "critical");
}

#[tokio::test]
async fn valid_token_without_a_user_is_forbidden() {
    let world = World::new().await;
    let token = || Token::of("auth0|ada");
    let long = "x".repeat(256);
    for bad in [
        json!(""),
        json!(null),
        json!(7),
        json!("a\u{0}b"),
        json!("a\nb"),
        json!(long),
    ] {
        let answer = world.send_token(&token().claim("sub", bad).rs256()).await;
        answer
            .is(403, "FORBIDDEN")
            .says("`sub` must be 1 to 255 characters");
    }
    world
        .send_token(&token().without("sub").rs256())
        .await
        .is(403, "FORBIDDEN");
    assert!(world.hasura.requests().is_empty());
}

#[tokio::test]
async fn token_without_key_id_needs_a_set_of_one_key() {
    let world = World::new().await;
    let mut token = Token::of("auth0|ada");
    token.header.as_object_mut().unwrap().remove("kid");
    refused(&world.send_token(&token.rs256()).await, "unknown key");
    world.provider.has(&[rsa_jwk("rsa-1")]);
    world.pass(31);
    assert_eq!(world.send_token(&token.rs256()).await.status, 200);
}

#[tokio::test]
async fn unknown_key_causes_fetches_at_a_bounded_rate() {
    let world = World::new().await;
    assert_eq!(
        world
            .send_token(&Token::of("auth0|ada").rs256())
            .await
            .status,
        200
    );
    for i in 0..20 {
        let token = Token::of("auth0|eve").header("kid", format!("made-up-{i}"));
        refused(&world.send_token(&token.rs256()).await, "unknown key");
    }
    assert_eq!(world.provider.fetches(), 1);

    world.provider.has(&[rsa_jwk("rsa-1"), rsa_jwk("rsa-2")]);
    world.pass(31);
    let rotated = Token::of("auth0|ada").header("kid", "rsa-2").rs256();
    assert_eq!(world.send_token(&rotated).await.status, 200);
    assert_eq!(world.send_token(&rotated).await.status, 200);
    assert_eq!(world.provider.fetches(), 2);
}

#[tokio::test]
async fn withdrawn_key_stops_working() {
    let world = World::new().await;
    let token = Token::of("auth0|ada").rs256();
    assert_eq!(world.send_token(&token).await.status, 200);
    world.provider.has(&[ec_jwk("ec-1")]);
    world.pass(899);
    assert_eq!(world.send_token(&token).await.status, 200);
    world.pass(1);
    refused(&world.send_token(&token).await, "unknown key");
}

#[tokio::test]
async fn withdrawn_key_is_refused_as_soon_as_a_set_without_it_is_fetched() {
    let world = World::new().await;
    let token = Token::of("auth0|eve").rs256();
    assert_eq!(world.send_token(&token).await.status, 200);
    world.provider.has(&[ec_jwk("ec-1")]);
    world.pass(31);
    // Another user's token has a key that is new here.
    let other = Token::of("auth0|ada").header("kid", "ec-2").rs256();
    refused(&world.send_token(&other).await, "unknown key");
    refused(&world.send_token(&token).await, "unknown key");
}

#[tokio::test]
async fn set_without_usable_keys_withdraws_all() {
    for keys in [
        json!([]),
        json!([{"kty": "oct", "kid": "rsa-1", "k": "AQAB"}]),
    ] {
        let world = World::new().await;
        let token = Token::of("auth0|eve").rs256();
        assert_eq!(world.send_token(&token).await.status, 200);
        let log = Log::start(Level::TRACE);
        world
            .provider
            .answers(200, json!({ "keys": keys }).to_string());
        world.pass(900);
        for _ in 0..2 {
            world
                .send_token(&token)
                .await
                .is(503, "SERVICE_UNAVAILABLE");
        }
        log.says(&[
            "ERROR",
            "key fetch from JWKS_URL failed",
            "there are no keys",
        ]);
        world.provider.has(&[rsa_jwk("rsa-1")]);
        world.pass(1);
        assert_eq!(world.send_token(&token).await.status, 200);
    }
}

#[tokio::test]
async fn old_keys_are_used_for_a_while_when_the_provider_is_down() {
    let world = World::new().await;
    let token = Token::of("auth0|ada").rs256();
    assert_eq!(world.send_token(&token).await.status, 200);
    for (status, body) in [(500, ""), (200, "<html>"), (200, r#"{"jwks_uri": "x"}"#)] {
        world.provider.answers(status, body);
        world.pass(KEYS_KEPT.as_secs() / 4);
        assert_eq!(
            world.send_token(&token).await.status,
            200,
            "{status} {body}"
        );
    }
    // Only the unreachable provider knows whether this key exists.
    let unknown = Token::of("auth0|ada").header("kid", "new").rs256();
    world
        .send_token(&unknown)
        .await
        .is(503, "SERVICE_UNAVAILABLE");
}

/// The provider may have withdrawn the key, and nobody can tell.
#[tokio::test]
async fn withdrawn_key_works_for_a_bounded_time_while_the_provider_is_unreachable() {
    let world = World::new().await;
    let token = Token::of("auth0|eve").rs256();
    assert_eq!(world.send_token(&token).await.status, 200);
    world.provider.answers(500, "");
    let log = Log::start(Level::TRACE);
    // Users ask all the time, so that it is not idle.
    let minutes = KEYS_KEPT.as_mins();
    for minute in 1..minutes {
        world.pass(60);
        let answer = world.send_token(&token).await;
        assert_eq!(answer.status, 200, "after {minute} minutes");
    }
    log.says(&["ERROR", "key fetch from JWKS_URL failed", "are used until"]);
    for _ in minutes..minutes + 60 {
        world.pass(60);
        world
            .send_token(&token)
            .await
            .is(503, "SERVICE_UNAVAILABLE");
    }
    log.says(&[
        "ERROR",
        "key fetch from JWKS_URL failed",
        "every user gets SERVICE_UNAVAILABLE",
    ]);

    world.provider.has(&[rsa_jwk("rsa-2")]);
    world.pass(1);
    refused(&world.send_token(&token).await, "unknown key");
    let renewed = Token::of("auth0|ada").header("kid", "rsa-2").rs256();
    assert_eq!(world.send_token(&renewed).await.status, 200);
}

#[tokio::test]
async fn service_without_keys_is_unavailable_and_recovers() {
    let world = World::new().await;
    let token = Token::of("auth0|ada").rs256();
    world.provider.answers(500, "");
    for _ in 0..5 {
        world
            .send_token(&token)
            .await
            .is(503, "SERVICE_UNAVAILABLE");
    }
    assert_eq!(world.provider.fetches(), 1);
    world.provider.has(&[rsa_jwk("rsa-1")]);
    world.pass(1);
    assert_eq!(world.send_token(&token).await.status, 200);
}

#[tokio::test]
async fn oversized_key_set_is_not_read() {
    let world = World::new().await;
    world.provider.answers(200, " ".repeat(300 * 1024));
    let token = Token::of("auth0|ada").rs256();
    world
        .send_token(&token)
        .await
        .is(503, "SERVICE_UNAVAILABLE");
}

#[tokio::test]
async fn concurrent_requests_cause_one_key_fetch() {
    let world = World::new().await;
    let request = Request::good();
    let answers = futures::future::join_all((0..20).map(|_| world.send(&request))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(world.provider.fetches(), 1);
}
