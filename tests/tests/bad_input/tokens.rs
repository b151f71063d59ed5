//! Every kind of token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use local_stack::keys::{Algorithm, UserKeys};
use local_stack::token::Token;
use reqwest::Method;
use scaling_tests::deployed::{Answer, Deployed, REMAPPED_CHALLENGE};
use serde_json::{Value, json};

use crate::{ask, assert_refused};

/// The session of every accepted token: all of them name the same user.
const SESSION: &str = "tokens";

pub(crate) async fn only_genuine_tokens_are_let_in(deployed: &Deployed) {
    for (what, token) in genuine() {
        let answer = with_token(deployed, &deployed.sign(&token)).await;
        assert_eq!(answer.status, 200, "{what}: {answer:#?}");
    }
    without_one(deployed).await;
    forged(deployed).await;
    for (what, token, says) in not_for_us() {
        let answer = with_token(deployed, &deployed.sign(&token)).await;
        assert_refused(what, &answer, 401, "UNAUTHORIZED", says);
        let challenge = r#"Bearer error="invalid_token""#;
        assert_eq!(answer.headers[REMAPPED_CHALLENGE], challenge, "{what}");
    }
    for (what, token) in without_a_user() {
        let answer = with_token(deployed, &deployed.sign(&token)).await;
        assert_refused(what, &answer, 403, "FORBIDDEN", "`sub`");
    }
    unknown_key_ids_do_not_fetch_the_key_set(deployed).await;
}

fn user_token() -> Token {
    Token::new("somebody")
}

async fn with_token(deployed: &Deployed, token: &str) -> Answer {
    let request = deployed.request(Method::POST, "mandelbox/assign");
    Answer::of(request.bearer_auth(token).json(&ask(SESSION))).await
}

fn genuine() -> [(&'static str, Token); 4] {
    [
        ("RS256", user_token()),
        ("ES256", user_token().algorithm(Algorithm::Es256)),
        ("expired within the leeway", user_token().expires_in(-5)),
        (
            "for others, too",
            user_token().claim("aud", json!(["another-service", "scaling-service"])),
        ),
    ]
}

fn not_for_us() -> [(&'static str, Token, &'static str); 14] {
    let rsa_only = "signed with RS256 or ES256";
    [
        (
            "no signature",
            user_token().algorithm(Algorithm::None),
            rsa_only,
        ),
        (
            "HMAC with the public key",
            user_token().algorithm(Algorithm::Hs256WithPublicKey),
            rsa_only,
        ),
        ("expired", user_token().expires_in(-3600), "is expired"),
        ("without expiry", user_token().without("exp"), "`exp`"),
        (
            "expiry of another type",
            user_token().claim("exp", "never"),
            "`exp`",
        ),
        (
            "not valid yet",
            user_token().claim("nbf", 4_102_444_800_i64),
            "is not valid yet",
        ),
        (
            "another issuer",
            user_token().claim("iss", "https://login.local.invalid"),
            "is from another issuer",
        ),
        ("without issuer", user_token().without("iss"), "`iss`"),
        ("issuers", user_token().claim("iss", json!([1])), "`iss`"),
        (
            "another audience",
            user_token().claim("aud", "scaling-service-2"),
            "is for another audience",
        ),
        ("without audience", user_token().without("aud"), "`aud`"),
        (
            "an unknown key",
            user_token().key_id("made-up"),
            "is signed with an unknown key",
        ),
        (
            "none of two keys",
            user_token().without_key_id(),
            "is signed with an unknown key",
        ),
        (
            "a key id that is a path",
            user_token().key_id("../../etc/passwd"),
            "is signed with an unknown key",
        ),
    ]
}

/// Genuine tokens without a user that could be assigned a slot.
fn without_a_user() -> [(&'static str, Token); 5] {
    [
        ("no user", user_token().without("sub")),
        ("an empty user", user_token().claim("sub", "")),
        ("a number", user_token().claim("sub", 7)),
        ("a long user", user_token().claim("sub", "x".repeat(256))),
        (
            "a line break",
            user_token().claim("sub", "a\n{\"level\":\"ERROR\"}"),
        ),
    ]
}

async fn without_one(deployed: &Deployed) {
    let token = deployed.token("somebody");
    let headers = [
        String::new(),
        "Bearer".to_owned(),
        "Basic c29tZWJvZHk6".to_owned(),
        token.clone(),
        format!("Token {token}"),
    ];
    for header in headers {
        let request = deployed
            .request(Method::POST, "mandelbox/assign")
            .header("authorization", &header)
            .json(&ask(SESSION));
        let answer = Answer::of(request).await;
        assert_refused(&header, &answer, 401, "UNAUTHORIZED", "send a token");
        assert_eq!(answer.headers[REMAPPED_CHALLENGE], "Bearer");
    }
    let request = deployed.request(Method::POST, "mandelbox/assign");
    let answer = Answer::of(request.body("{")).await;
    // Only an authenticated user is told what is wrong with a body.
    assert_refused("no header", &answer, 401, "UNAUTHORIZED", "send a token");
}

/// Tokens that no key of the key set has signed as they are.
async fn forged(deployed: &Deployed) {
    let keys = deployed.stack.keys();
    let token = deployed.token("somebody");
    let parts: Vec<&str> = token.split('.').collect();
    let claims = |change: &str| {
        let claims = URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
        let mut claims: Value = serde_json::from_slice(&claims).unwrap();
        claims["sub"] = json!(change);
        URL_SAFE_NO_PAD.encode(claims.to_string())
    };
    let mut signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
    let half = URL_SAFE_NO_PAD.encode(&signature[..128]);
    signature[0] ^= 1;
    let other = URL_SAFE_NO_PAD.encode(signature);
    let signed_by = |signature: &str| format!("{}.{}.{signature}", parts[0], parts[1]);
    let others = UserKeys::generate().unwrap();
    let under_our_key_id = user_token().key_id(keys.key_id(Algorithm::Rs256));
    let under_the_other_key_id = user_token().key_id(keys.key_id(Algorithm::Es256));
    let elses = format!("{}.{}.{}", parts[0], claims("else"), parts[2]);
    let forged = [
        ("other claims", elses, "wrong signature"),
        ("another signature", signed_by(&other), "wrong signature"),
        ("half a signature", signed_by(&half), "wrong signature"),
        ("no signature", signed_by(""), "wrong signature"),
        (
            "others' key",
            under_our_key_id.sign(&others).unwrap(),
            "wrong signature",
        ),
        (
            "another key's id",
            deployed.sign(&under_the_other_key_id),
            "another algorithm than its key has",
        ),
        (
            "two parts",
            format!("{}.{}", parts[0], parts[1]),
            "not a JSON Web Token",
        ),
        (
            "four parts",
            format!("{token}.{}", parts[2]),
            "not a JSON Web Token",
        ),
        ("no base64", "!.!.!".to_owned(), "not a JSON Web Token"),
        ("a long one", "x".repeat(20_000), "too long"),
    ];
    for (what, token, says) in forged {
        let answer = with_token(deployed, &token).await;
        assert_refused(what, &answer, 401, "UNAUTHORIZED", says);
    }
}

async fn unknown_key_ids_do_not_fetch_the_key_set(deployed: &Deployed) {
    let before = deployed.stack.jwks().requests();
    for made_up in 0..10 {
        let token = user_token().key_id(format!("made-up-{made_up}"));
        with_token(deployed, &deployed.sign(&token)).await;
    }
    let fetches = deployed.stack.jwks().requests() - before;
    assert!(fetches <= 1, "the key set was fetched {fetches} times");
}
