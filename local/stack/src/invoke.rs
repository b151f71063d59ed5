//! Invokes deployed functions by name, as an operator does.

use anyhow::{Context as _, Result, bail};
use aws_config::SdkConfig;
use aws_sdk_lambda::primitives::Blob;
use serde_json::Value;

/// What `EventBridge` sends each minute.
///
/// # Panics
/// Never: the sample is JSON.
#[allow(clippy::expect_used)]
pub fn schedule() -> Value {
    let event = include_str!("../../../events/reconcile-schedule.json");
    serde_json::from_str(event).expect("the sample is JSON")
}

/// The function's answer to `payload`.
///
/// # Errors
/// When it cannot be invoked, or answers with an error of its own.
pub async fn invoke(sdk: &SdkConfig, function: &str, payload: &Value) -> Result<Value> {
    let answer = aws_sdk_lambda::Client::new(sdk)
        .invoke()
        .function_name(function)
        .payload(Blob::new(payload.to_string()))
        .send()
        .await
        .with_context(|| format!("invoke {function}"))?;
    let body = answer.payload().map(AsRef::as_ref).unwrap_or_default();
    if let Some(kind) = answer.function_error() {
        bail!(
            "{function} failed ({kind}): {}",
            String::from_utf8_lossy(body)
        );
    }
    serde_json::from_slice(body)
        .with_context(|| format!("{function} answered {:?}", String::from_utf8_lossy(body)))
}
