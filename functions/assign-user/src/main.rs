//! Wires and runs `assign-user`: settings and clients once, then one event after the other.

use std::sync::Arc;

use anyhow::Context;
use assign_user::AssignUser;
use assign_user::auth::TokenVerifier;
use assign_user::key_cache::KeyCache;
use assign_user::settings::Settings;
use hasura_adapter::{HasuraAssigner, HasuraClient};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use startup::config::{self, ProcessEnvironment};
use startup::{SystemClock, telemetry};

// An execution environment has one invocation at a time, and that one waits for the network.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init(&config::log_level(&ProcessEnvironment));
    let function = wire().inspect_err(|error| tracing::error!("cannot start: {error:#}"))?;
    let function = &function;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| async move {
        Ok::<_, Error>(function.handle(event.payload).await)
    }))
    .await
}

fn wire() -> anyhow::Result<AssignUser<HasuraAssigner>> {
    let settings = Settings::from_env(&ProcessEnvironment).context("read the settings")?;
    let http = http_client::client()?;
    let hasura = HasuraClient::new(http.clone(), &settings.hasura)?;
    let keys = KeyCache::new(http, settings.jwks_url.clone(), Arc::new(SystemClock));
    Ok(AssignUser {
        tokens: TokenVerifier::new(keys, &settings.issuer, &settings.audience),
        local_dev: settings.local_dev(),
        origins: settings.origins,
        assigner: HasuraAssigner::new(hasura, settings.sessions_per_user, settings.environment),
    })
}
