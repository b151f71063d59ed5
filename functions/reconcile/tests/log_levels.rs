//! The whole program: whatever the operator sets, it logs none of its secrets.

use serde_json::json;
use testing::function_process::assert_no_filter_logs_secrets;

#[test]
fn no_log_level_shows_a_secret() {
    let events = [json!({"regions": ["us-east-1"]}), json!({"doctor": true})];
    assert_no_filter_logs_secrets(env!("CARGO_BIN_EXE_reconcile"), &events, &[]);
}
