//! Builds the [`Reconciler`] from its adapters, for the functions that run passes. It is built once
//! per process, outside the handler, so that clients keep their connections between invocations.

mod doctor;

use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use dynamodb_adapter::DynamoStore;
use ec2_adapter::Ec2Regions;
use hasura_adapter::{HasuraClient, HasuraDatabase, HasuraRecordings};
use http_client::HttpError;
use lambda_adapter::AsyncReconcile;
use replica_http_adapter::HttpReplicas;
use shared::agent_token::{AgentTokens, TokenError};
use shared::alerts::{Alerts, DedupingAlerts, LogOnly};
use shared::clock::Clock;
use shared::db::{DbError, InstanceDatabase, RegionDatabase};
use shared::execute::LaunchSettings;
use shared::host::AccountRegions;
use shared::ids::RandomIds;
use shared::pass::Reconciler;
use shared::recording::Recordings;
use sns_adapter::SnsAlerts;
use startup::config::{PassConfig, RegionsFrom};
use startup::{EnvironmentRegions, MetricLog, SystemClock};
use thiserror::Error;

/// The limit of one call to DynamoDB, Lambda or SNS, retries included.
const AWS_CALL_LIMIT: Duration = Duration::from_secs(5);

/// A client could not be built.
#[derive(Debug, Error)]
pub enum WiringError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(transparent)]
    Tokens(#[from] TokenError),
}

pub use doctor::reconciler_with_doctor;

/// Builds the reconciler.
///
/// # Errors
/// When a client cannot be built from the settings.
pub async fn reconciler(config: PassConfig) -> Result<Reconciler, WiringError> {
    let aws = aws_settings::load(AWS_CALL_LIMIT).await;
    build(config, &aws, http_client::client()?)
}

fn build(
    config: PassConfig,
    aws: &SdkConfig,
    http: reqwest::Client,
) -> Result<Reconciler, WiringError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = Arc::new(DynamoStore::new(
        aws_sdk_dynamodb::Client::new(aws),
        config.table,
    ));
    let alerts: Arc<dyn Alerts> = match config.alert_topic_arn {
        Some(topic) => {
            let client = aws_sdk_sns::Client::new(aws);
            let sns = SnsAlerts::new(client, topic, config.stack_id.clone());
            Arc::new(DedupingAlerts::new(Arc::new(sns), clock.clone()))
        }
        None => Arc::new(LogOnly),
    };
    let metrics = MetricLog::new(config.stack_id.clone());
    let mut launches = LaunchSettings {
        stack_id: config.stack_id.clone(),
        agent_hasura_url: String::new(),
        tokens: None,
    };
    let mut instances: Option<Arc<dyn InstanceDatabase>> = None;
    let mut recordings: Option<Arc<dyn Recordings>> = None;
    let regions: Arc<dyn RegionDatabase> = match config.regions {
        RegionsFrom::Environment(region) => {
            let regions = EnvironmentRegions::new(*region, clock.clone());
            Arc::new(regions)
        }
        RegionsFrom::Hasura(settings) => {
            launches.agent_hasura_url = settings.agent_hasura_url;
            let (key, valid) = (settings.agent_token_key, settings.agent_token_valid);
            let tokens = AgentTokens::new(key, valid)?;
            launches.tokens = Some(match settings.agent_next_token_key {
                Some(next) => tokens.with_next_key(next)?,
                None => tokens,
            });
            let client = HasuraClient::new(http, &settings.hasura)?;
            recordings = Some(Arc::new(HasuraRecordings {
                client: client.clone(),
                defaults: config.replica_defaults.clone(),
            }));
            let database = Arc::new(HasuraDatabase {
                client,
                environment: config.environment,
                defaults: config.replica_defaults,
            });
            instances = Some(database.clone());
            database
        }
    };
    let hosts = Arc::new(Ec2Regions::new(
        aws.clone(),
        config.stack_id,
        config.limits.ec2_call,
    ));
    let account: Option<Arc<dyn AccountRegions>> = match config.searches_strays {
        true => Some(hosts.clone()),
        false => None,
    };
    Ok(Reconciler {
        regions,
        instances,
        lock: store.clone(),
        store: store.clone(),
        service: store,
        hosts,
        account,
        replicas: Arc::new(HttpReplicas::new(config.replica_authority.as_deref())?),
        alerts,
        metrics: Arc::new(metrics),
        invoker: Arc::new(AsyncReconcile {
            client: aws_sdk_lambda::Client::new(aws),
            function: config.reconcile_function,
        }),
        clock,
        ids: Arc::new(RandomIds),
        launches,
        limits: config.limits,
        probes: None,
        recordings,
    })
}
