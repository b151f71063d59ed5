//! Invokes deployed functions by name.

use anyhow::{Context as _, Result, bail};
use aws_config::SdkConfig;
use aws_sdk_lambda::primitives::Blob;
use serde_json::Value;

/// The event that `EventBridge` sends each minute.
///
/// # Panics
/// Never: the included sample is valid JSON.
#[allow(clippy::expect_used)]
pub fn schedule() -> Value {
    let event = include_str!("../../../events/reconcile-schedule.json");
    serde_json::from_str(event).expect("the sample is valid JSON")
}

/// Invokes `function` with `payload` and returns its response.
///
/// # Errors
/// When the function cannot be invoked, fails, or returns something that is not JSON.
pub async fn invoke(sdk: &SdkConfig, function: &str, payload: &Value) -> Result<Value> {
    let response = aws_sdk_lambda::Client::new(sdk)
        .invoke()
        .function_name(function)
        .payload(Blob::new(payload.to_string()))
        .send()
        .await
        .with_context(|| format!("invoke {function}"))?;
    let body = response.payload().map(AsRef::as_ref).unwrap_or_default();
    if let Some(kind) = response.function_error() {
        bail!(
            "{function} failed ({kind}): {}",
            String::from_utf8_lossy(body)
        );
    }
    serde_json::from_slice(body).with_context(|| {
        format!(
            "parse the response of {function}: {:?}",
            String::from_utf8_lossy(body)
        )
    })
}
