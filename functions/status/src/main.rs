//! Wires and runs `status`: settings and clients once, then one event after the other.

use std::sync::Arc;

use anyhow::Context;
use dynamodb_adapter::DynamoStore;
use hasura_adapter::{HasuraClient, HasuraOverview, HasuraRecordings};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use shared::overview::Overview;
use shared::recording::Recordings;
use shared::settings::Columns;
use shared::trace::traced;
use shared::usage::SessionHistory;
use startup::config::{self, ProcessEnvironment};
use startup::{EnvironmentRegions, SystemClock, telemetry};
use status::StatusPage;
use status::gather::Gatherer;
use status::health::LastHealth;
use status::settings::{DYNAMODB_CALL, RegionsOf, Settings};

// An execution environment handles one invocation at a time, which mostly waits for the network.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init(&config::log_level(&ProcessEnvironment));
    let function = wire()
        .await
        .inspect_err(|error| tracing::error!(error = format!("{error:#}"), "start failed"))?;
    let function = &function;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| async move {
        let answer = function.handle(event.payload);
        Ok::<_, Error>(traced(event.context.xray_trace_id.as_deref(), answer).await)
    }))
    .await
}

async fn wire() -> anyhow::Result<StatusPage> {
    let settings = Settings::from_env(&ProcessEnvironment).context("read the settings")?;
    let mut usage: Option<Arc<dyn SessionHistory>> = None;
    let mut recordings: Option<Arc<dyn Recordings>> = None;
    let overview: Arc<dyn Overview> = match settings.regions {
        RegionsOf::Hasura(hasura) => {
            let client = HasuraClient::new(http_client::client()?, &hasura)?;
            // The defaults of the environment are those of passes.
            recordings = Some(Arc::new(HasuraRecordings {
                client: client.clone(),
                defaults: Columns::new(),
            }));
            let database = Arc::new(HasuraOverview {
                client,
                environment: settings.environment.clone(),
            });
            usage = Some(database.clone());
            database
        }
        RegionsOf::Environment(region) => {
            let clock = Arc::new(SystemClock);
            Arc::new(EnvironmentRegions::new(*region, clock))
        }
    };
    let store = Arc::new(DynamoStore::connect(settings.table, DYNAMODB_CALL).await);
    Ok(StatusPage {
        access: settings.access,
        gatherer: Gatherer {
            overview,
            history: store.clone(),
            reports: store.clone(),
            stale_after: settings.stale_after,
        },
        health: LastHealth::default(),
        usage,
        recordings,
        sessions: store,
        environment: settings.environment,
        clock: Arc::new(SystemClock),
    })
}
