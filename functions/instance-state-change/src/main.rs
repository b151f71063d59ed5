//! `instance-state-change`: EC2's events ask for a pass where a machine of ours has changed.

use anyhow::Context;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use shared::config::{PassConfig, ProcessEnvironment, log_level};
use shared::{telemetry, wiring};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init(&log_level(&ProcessEnvironment));
    let config = PassConfig::from_env(&ProcessEnvironment).context("read the settings")?;
    let passes = &wiring::passes(config).await.context("build the clients")?;
    run(service_fn(move |event: LambdaEvent<Value>| async move {
        instance_state_change::handle(passes, event.payload, &event.context.request_id).await
    }))
    .await
}
