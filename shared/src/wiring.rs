//! Puts the real adapters behind the ports. Once per process, outside the handler.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use serde_json::json;
use thiserror::Error;

use crate::act::Launching;
use crate::agent_token::AgentTokens;
use crate::alerts::sns::SnsAlerts;
use crate::alerts::{Alerts, LogOnly, Sparing};
use crate::aws;
use crate::clock::SystemClock;
use crate::config::{PassConfig, RegionsFrom};
use crate::db::{Database, DbError, EnvironmentDatabase, HasuraClient, HasuraDatabase};
use crate::host::ec2::Ec2Regions;
use crate::http::{self, HttpError};
use crate::ids::{RandomIds, RegionName};
use crate::lock::dynamodb::DynamoStore;
use crate::pass::{HandOverError, Passes, Successor};
use crate::replicas::HttpReplicas;

/// A call to DynamoDB, Lambda or SNS that takes longer has failed.
const AWS_CALL_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, Error)]
pub enum WiringError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Database(#[from] DbError),
}

/// # Errors
/// When a client cannot be built from the settings.
pub async fn passes(config: PassConfig) -> Result<Passes, WiringError> {
    let aws = aws::settings(AWS_CALL_LIMIT).await;
    passes_with(&aws, http::client()?, config)
}

/// The same with AWS settings of the caller's.
///
/// # Errors
/// As [`passes`].
pub fn passes_with(
    aws: &SdkConfig,
    http: reqwest::Client,
    config: PassConfig,
) -> Result<Passes, WiringError> {
    let store = Arc::new(DynamoStore::new(
        aws_sdk_dynamodb::Client::new(aws),
        config.table,
    ));
    let clock = Arc::new(SystemClock);
    let replicas = HttpReplicas::new(config.replica_authority.as_deref())?;
    let alerts: Arc<dyn Alerts> = match config.alert_topic_arn {
        Some(topic) => {
            let client = aws_sdk_sns::Client::new(aws);
            let sns = SnsAlerts::new(client, topic, config.stack_id.clone());
            Arc::new(Sparing::new(Arc::new(sns), clock.clone()))
        }
        None => Arc::new(LogOnly),
    };
    let mut launching = Launching {
        stack_id: config.stack_id.clone(),
        agent_hasura_url: String::new(),
        tokens: None,
    };
    let database: Arc<dyn Database> = match config.regions {
        RegionsFrom::Environment(region) => {
            Arc::new(EnvironmentDatabase::new(*region, clock.clone()))
        }
        RegionsFrom::Hasura(settings) => {
            launching.agent_hasura_url = settings.agent_hasura_url;
            let (key, valid) = (settings.agent_token_key, settings.agent_token_valid);
            launching.tokens = Some(AgentTokens::new(key, valid));
            Arc::new(HasuraDatabase {
                client: HasuraClient::new(http, &settings.hasura)?,
                environment: config.environment,
                replicas: config.replicas,
            })
        }
    };
    Ok(Passes {
        database,
        replicas: Arc::new(replicas),
        lock: store.clone(),
        log: store,
        hosts: Arc::new(Ec2Regions::new(
            aws.clone(),
            config.stack_id,
            config.limits.ec2_call,
        )),
        alerts,
        successor: Arc::new(AsyncReconcile {
            client: aws_sdk_lambda::Client::new(aws),
            function: config.reconcile_function,
        }),
        clock,
        ids: Arc::new(RandomIds),
        launching,
        limits: config.limits,
    })
}

/// Hands a region over to an invocation of `reconcile` that nobody waits for.
#[derive(Debug)]
struct AsyncReconcile {
    client: aws_sdk_lambda::Client,
    function: String,
}

#[async_trait]
impl Successor for AsyncReconcile {
    async fn hand_over(&self, region: &RegionName, id: &str) -> Result<(), HandOverError> {
        let payload = json!({ "regions": [region], "hand_over": id });
        self.client
            .invoke()
            .function_name(&self.function)
            .invocation_type(InvocationType::Event)
            .payload(Blob::new(payload.to_string()))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| {
                HandOverError(aws_sdk_lambda::error::DisplayErrorContext(error).to_string())
            })
    }
}
