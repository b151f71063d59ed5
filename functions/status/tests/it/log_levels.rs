//! The whole program: whatever the operator sets, it logs neither the token nor a cookie.
#![cfg(feature = "adapters")]

use serde_json::json;
use testing::function_process::{STATUS_TOKEN, assert_no_filter_logs_secrets, url_event};

#[test]
fn no_log_level_shows_the_status_token_or_a_cookie() {
    let bearer = json!({"authorization": format!("Bearer {STATUS_TOKEN}")});
    let wrong = json!({"authorization": "Bearer wrong-token-of-a-caller"});
    let cookie = "scaling_status=1.of-a-browser.c2lnbmF0dXJl";
    let form = format!("next=%2F&token={STATUS_TOKEN}");
    let events = [
        url_event("GET", "/", &bearer, &[], ""),
        url_event("GET", "/regions/us-east-1", &wrong, &[], ""),
        url_event("GET", "/", &json!({}), &[cookie], ""),
        url_event("POST", "/login", &json!({}), &[], &form),
        url_event(
            "POST",
            "/login",
            &json!({}),
            &[],
            "token=wrong-token-of-a-form",
        ),
        url_event("GET", "/healthz", &json!({}), &[], ""),
    ];
    let secrets = [
        "wrong-token-of-a-caller",
        "wrong-token-of-a-form",
        "c2lnbmF0dXJl",
    ];
    assert_no_filter_logs_secrets(env!("CARGO_BIN_EXE_status"), &events, &secrets);
}
