//! What `doctor` looks through: for `reconcile` only, which answers it.

use std::sync::Arc;
use std::time::Duration;

use account_adapter::Account;
use assign_user::key_check::KeySetCheck;
use aws_config::SdkConfig;
use dynamodb_adapter::DynamoStore;
use ec2_adapter::Ec2Regions;
use hasura_adapter::HasuraDoctor;
use lambda_adapter::StackFunctions;
use secrecy::ExposeSecret as _;
use shared::doctor::Probes;
use shared::doctor::ports::{DatabaseProbe, FunctionsProbe, KeySetProbe, TopicProbe};
use shared::function_token::TokenClaims;
use shared::pass::Reconciler;
use sns_adapter::SnsAlerts;
use startup::config::{PassConfig, RegionsFrom};

use crate::{AWS_CALL_LIMIT, WiringError, build};

/// For one check; up to three follow each other, within the function's 60 seconds.
const CHECK_LIMIT: Duration = Duration::from_secs(15);

/// Builds the reconciler, with what `doctor` needs.
///
/// # Errors
/// When a client cannot be built from the settings.
pub async fn reconciler_with_doctor(config: PassConfig) -> Result<Reconciler, WiringError> {
    let aws = aws_settings::load(AWS_CALL_LIMIT).await;
    let http = http_client::client()?;
    let probes = probes(&config, &aws, &http)?;
    Ok(Reconciler {
        probes: Some(Arc::new(probes)),
        ..build(config, &aws, http)?
    })
}

fn probes(
    config: &PassConfig,
    aws: &SdkConfig,
    http: &reqwest::Client,
) -> Result<Probes, WiringError> {
    let (database, token): (Option<Arc<dyn DatabaseProbe>>, _) = match &config.regions {
        RegionsFrom::Hasura(settings) => {
            let doctor = HasuraDoctor::new(http.clone(), &settings.hasura)?;
            let token = TokenClaims::of(settings.hasura.token.expose_secret());
            (Some(Arc::new(doctor)), token)
        }
        RegionsFrom::Environment(_) => (None, None),
    };
    // Without Hasura, the functions share no secret.
    let functions = database.is_some().then(|| {
        let functions = StackFunctions {
            client: aws_sdk_lambda::Client::new(aws),
            reconcile: config.reconcile_function.clone(),
        };
        Arc::new(functions) as Arc<dyn FunctionsProbe>
    });
    let topic = config.alert_topic_arn.clone().map(|topic| {
        let client = aws_sdk_sns::Client::new(aws);
        Arc::new(SnsAlerts::new(client, topic, config.stack_id.clone())) as Arc<dyn TopicProbe>
    });
    let keys = config.jwks_url.clone().map(|url| {
        let http = http.clone();
        Arc::new(KeySetCheck { http, url }) as Arc<dyn KeySetProbe>
    });
    let store = Arc::new(DynamoStore::new(
        aws_sdk_dynamodb::Client::new(aws),
        config.table.clone(),
    ));
    Ok(Probes {
        database,
        table: store.clone(),
        history: store.clone(),
        topic,
        functions,
        token,
        keys,
        account: Arc::new(Account::new(aws.clone(), AWS_CALL_LIMIT)),
        hosts: Arc::new(Ec2Regions::new(
            aws.clone(),
            config.stack_id.clone(),
            config.limits.ec2_call,
        )),
        reports: store,
        limit: CHECK_LIMIT,
    })
}
