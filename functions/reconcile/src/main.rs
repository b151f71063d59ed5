//! `reconcile`: EventBridge's schedule, or a person, requests a pass for each region.

use std::sync::Arc;

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
    // Built once: clients keep their connections from one invocation to the next.
    let reconciler = Arc::new(
        wiring::reconciler_with_doctor(config)
            .await
            .context("build the clients")?,
    );
    run(service_fn(move |event: LambdaEvent<Value>| {
        let reconciler = reconciler.clone();
        async move {
            let context = &event.context;
            let answer = reconcile::handle(&reconciler, event.payload, &context.request_id);
            traced(context.xray_trace_id.as_deref(), answer).await
        }
    }))
    .await
}
