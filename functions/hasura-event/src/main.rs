//! `hasura-event`: Hasura's event triggers cause a pass where something has changed.

use anyhow::Context;
use hasura_event::HasuraEvents;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use shared::trace::traced;
use startup::config::{PassConfig, ProcessEnvironment, log_level, secret};
use startup::telemetry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init(&log_level(&ProcessEnvironment));
    let function = wire()
        .await
        .inspect_err(|error| tracing::error!(error = format!("{error:#}"), "start failed"))?;
    let function = &function;
    run(service_fn(move |event: LambdaEvent<Value>| async move {
        let answer = function.handle(event.payload, &event.context.request_id);
        Ok::<_, Error>(traced(event.context.xray_trace_id.as_deref(), answer).await)
    }))
    .await
}

async fn wire() -> anyhow::Result<HasuraEvents> {
    let env = &ProcessEnvironment;
    let origin = "`event_secret` of the secret, and HASURA_EVENT_SECRET of Hasura";
    let secret = secret(env, "HASURA_EVENT_SECRET", origin).context("read the settings")?;
    let config = PassConfig::from_env(env).context("read the settings")?;
    let environment = config.environment.clone();
    let reconciler = wiring::reconciler(config)
        .await
        .context("build the clients")?;
    Ok(HasuraEvents {
        reconciler,
        secret,
        environment,
    })
}
