//! The whole program: whatever the operator sets, it logs neither the events' secret nor a row.

use serde_json::json;
use testing::function_process::{EVENT_SECRET, assert_no_filter_logs_secrets, url_event};

#[test]
fn no_log_level_shows_the_events_secret() {
    let row = json!({
        "id": "event-1", "trigger": {"name": "region_wake"},
        "event": {"op": "INSERT", "data": {"new": {"region": "us-east-1", "note": "text-of-a-row"}}},
    })
    .to_string();
    let event = |secret: &str| {
        let headers = json!({ "x-event-secret": secret });
        url_event("POST", "/", &headers, &["a=cookie-of-a-caller"], &row)
    };
    let events = [event(EVENT_SECRET), event("wrong-secret-of-a-caller")];
    let secrets = [
        "wrong-secret-of-a-caller",
        "cookie-of-a-caller",
        "text-of-a-row",
    ];
    assert_no_filter_logs_secrets(env!("CARGO_BIN_EXE_hasura-event"), &events, &secrets);
}
