//! The configuration that clients of all AWS services share.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Loads the process's region and credentials. A call fails if it takes longer than `call`, the
/// SDK's retries included.
pub async fn load(call: Duration) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .operation_timeout(call)
                .build(),
        )
        .load()
        .await
}
