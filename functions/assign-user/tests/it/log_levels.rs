//! The whole program: whatever the operator sets, it logs no token.

use serde_json::json;
use testing::function_process::{assert_no_filter_logs_secrets, url_event};

use crate::support::Token;

#[test]
fn no_log_level_shows_a_users_token() {
    let token = Token::of("auth0|ada").rs256();
    let signature = token.rsplit('.').next().unwrap();
    let headers = json!({
        "authorization": format!("Bearer {token}"),
        "x-api-key": "key-of-a-user",
    });
    let cookie = "session=cookie-of-a-user";
    let post = |headers: &_, body| url_event("POST", "/mandelbox/assign", headers, &[cookie], body);
    let body = r#"{"regions": ["us-east-1"], "session_id": 1, "secret": "text-of-a-body"}"#;
    let events = [
        post(&headers, body),
        post(&headers, "no JSON, text-of-a-body"),
        post(
            &json!({"authorization": "Bearer no-token-of-anybody"}),
            body,
        ),
    ];
    let secrets = [
        token.as_str(),
        signature,
        "cookie-of-a-user",
        "key-of-a-user",
        "text-of-a-body",
        "no-token-of-anybody",
    ];
    assert_no_filter_logs_secrets(env!("CARGO_BIN_EXE_assign-user"), &events, &secrets);
}
