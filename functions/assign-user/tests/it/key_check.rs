//! What doctor says about the key set: the same as this function would.

use assign_user::key_check::KeySetCheck;
use serde_json::json;
use shared::doctor::facts::KeySet;
use shared::doctor::ports::KeySetProbe;

use crate::support::{Provider, rsa_jwk};

fn check(url: &str) -> KeySetCheck {
    KeySetCheck {
        http: http_client::client().unwrap(),
        url: url.to_owned(),
    }
}

#[tokio::test]
async fn key_set_is_judged_by_what_can_verify_a_token() {
    let provider = Provider::start().await;
    provider.answers(200, json!({"keys": [rsa_jwk("rsa-1")]}).to_string());
    let found = check(&provider.url).keys().await;
    assert_eq!(found, Ok(KeySet::Usable));
    for (status, body, says) in [
        (200, r#"{"keys": []}"#, "the key set has no keys"),
        (200, "<html>", "the answer is not JSON"),
        (404, "", "404"),
    ] {
        provider.answers(status, body);
        match check(&provider.url).keys().await {
            Ok(KeySet::Unusable(reason)) => assert!(reason.contains(says), "{reason}"),
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn provider_that_does_not_answer_is_an_error() {
    // Nobody listens on the port for discarded packets.
    assert!(check("http://127.0.0.1:9/keys").keys().await.is_err());
}
