//! Builds `assign-user` from its settings and clients, and runs it.

use std::sync::Arc;

use anyhow::Context;
use assign_user::AssignUser;
use assign_user::auth::TokenVerifier;
use assign_user::cors::AllowedOrigins;
use assign_user::key_cache::KeyCache;
use assign_user::settings::Settings;
use hasura_adapter::{HasuraAssigner, HasuraClient};
use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use shared::trace::traced;
use startup::config::{self, ProcessEnvironment, Stage};
use startup::{MetricLog, SystemClock, telemetry};

// An execution environment handles one invocation at a time, which mostly waits for the network.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init(&config::log_level(&ProcessEnvironment));
    let function = wire()
        .inspect_err(|error| tracing::error!(error = format!("{error:#}"), "start failed"))?;
    let function = &function;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| async move {
        let deadline = i64::try_from(event.context.deadline)
            .ok()
            .and_then(|milliseconds| Timestamp::from_millisecond(milliseconds).ok())
            .unwrap_or(Timestamp::UNIX_EPOCH);
        let answer = function.handle(event.payload, deadline);
        Ok::<_, Error>(traced(event.context.xray_trace_id.as_deref(), answer).await)
    }))
    .await
}

fn wire() -> anyhow::Result<AssignUser<HasuraAssigner>> {
    let settings = Settings::from_env(&ProcessEnvironment).context("read the settings")?;
    let local_dev = settings.local_dev();
    let http = http_client::client()?;
    let hasura = HasuraClient::new(http.clone(), &settings.hasura)?;
    let clock = Arc::new(SystemClock);
    let keys = KeyCache::new(http, settings.jwks_url, settings.keys_kept, clock.clone());
    if settings.stage == Stage::Production && settings.origins == AllowedOrigins::Any {
        tracing::warn!("ALLOWED_ORIGINS is `*` in prod: pages of every origin may request slots");
    }
    Ok(AssignUser {
        tokens: TokenVerifier::new(keys, &settings.issuer, &settings.audience),
        local_dev,
        stage: settings.stage,
        origins: settings.origins,
        max_wait: settings.max_wait,
        clock,
        metrics: Arc::new(MetricLog::new(settings.stack_id)),
        assigner: HasuraAssigner::new(hasura, settings.sessions_per_user, settings.environment),
    })
}
