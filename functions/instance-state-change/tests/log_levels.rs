//! The whole program: whatever the operator sets, it logs none of its secrets.

use serde_json::json;
use testing::function_process::assert_no_filter_logs_secrets;

#[test]
fn no_log_level_shows_a_secret() {
    let event = json!({
        "id": "event-1", "source": "aws.ec2", "region": "us-east-1",
        "detail-type": "EC2 Instance State-change Notification",
        "detail": {"instance-id": "i-0123456789abcdef0", "state": "terminated"},
    });
    let program = env!("CARGO_BIN_EXE_instance-state-change");
    assert_no_filter_logs_secrets(program, &[event], &[]);
}
