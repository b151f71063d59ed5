//! `instance-state-change`: EC2's events, spot notices among them, cause a pass where an instance of
//! ours has changed.

use anyhow::Context;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use shared::trace::traced;
use startup::config::{PassConfig, ProcessEnvironment, log_level};
use startup::telemetry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init(&log_level(&ProcessEnvironment));
    let config = PassConfig::from_env(&ProcessEnvironment).context("read the settings")?;
    let reconciler = &wiring::reconciler(config)
        .await
        .context("build the clients")?;
    run(service_fn(move |event: LambdaEvent<Value>| async move {
        let context = &event.context;
        let answer = instance_state_change::handle(reconciler, event.payload, &context.request_id);
        traced(context.xray_trace_id.as_deref(), answer).await
    }))
    .await
}
