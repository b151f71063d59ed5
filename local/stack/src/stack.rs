//! The whole stack: starts all components, deploys the functions, and stops everything again.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use aws_config::SdkConfig;
use serde_json::Value;
use tokio::select;

use crate::deploy::{Deployment, Template, function_url};
use crate::dir::StackDir;
use crate::ec2::Ec2Emulator;
use crate::ec2_events::Ec2Events;
use crate::env_file::StackEnv;
use crate::events::{EventOptions, Events};
use crate::forwarding::forward_events;
use crate::graphql::{Graphql, GraphqlOptions};
use crate::invoke::invoke;
use crate::jwks::JwksServer;
use crate::keys::UserKeys;
use crate::ministack::{ACCESS_KEY_ID, Ministack, REGION, SECRET_ACCESS_KEY};
use crate::operator::Operator;
use crate::options::{Schedule, StackOptions};
use crate::ports::Ports;
use crate::postgres::Postgres;
use crate::private_file::random_secret;
use crate::project;
use crate::steps::step;
use crate::token::{AUDIENCE, ISSUER, Token};
use crate::tokens;

/// A running stack with the template deployed and an empty database.
///
/// Dropping it stops every component and removes the stack's data.
#[derive(Debug)]
pub struct Stack {
    env: StackEnv,
    env_path: PathBuf,
    keys: UserKeys,
    // Fields are dropped from top to bottom: callers before the components that they call.
    events: Option<Events>,
    ministack: Ministack,
    ec2: Ec2Emulator,
    _ec2_events: Ec2Events,
    graphql: Graphql,
    postgres: Postgres,
    jwks: JwksServer,
    dir: StackDir,
}

impl Stack {
    /// Starts every component and deploys `template.yaml`. Prints each step.
    ///
    /// # Errors
    /// When the stack's folder is in use, or a component does not start.
    pub async fn start(options: &StackOptions) -> Result<Self> {
        let forwarded = options.forwarded_regions()?;
        let dir = StackDir::claim(&options.stack.dir())?;
        let mut ports = options
            .ports_from
            .map_or_else(Ports::free, Ports::starting_at);
        let aws_port = ports.reserve("the local AWS")?;
        let ec2_port = ports.reserve("the EC2 emulator")?;
        let graphql_port = ports.reserve("GraphQL")?;
        let postgres_port = ports.reserve("PostgreSQL")?;
        let jwks_port = ports.reserve("the key set server")?;
        let events_port = ports.reserve("the delivery of database events")?;
        let ec2_events_port = ports.reserve("the receiver of EC2 events")?;

        let secrets = Secrets {
            admin: random_secret(),
            jwt_key: random_secret(),
            event: random_secret(),
            status: random_secret(),
        };
        let keys = UserKeys::load_or_generate(&dir.keys())?;
        let jwks = JwksServer::start(jwks_port, keys.key_set())?;
        let aws_endpoint = format!("http://127.0.0.1:{}", aws_port.port());
        let ec2_events = Ec2Events::start(ec2_events_port, &aws_endpoint)?;
        let events_url = ec2_events.url();
        let start = Ec2Emulator::start(&dir, ec2_port, &options.ec2, &events_url);
        let ec2 = step("start the EC2 emulator", start).await?;

        // Deploying the functions needs no database, so both happen at the same time.
        let hasura_url = format!("http://127.0.0.1:{}", graphql_port.port());
        let deployment = deployment(options, &secrets, &hasura_url, &jwks)?;
        let functions = Box::pin(async {
            let start = Ministack::start(&dir, aws_port, Some(ec2.endpoint()));
            let ministack = step("start the local AWS", start).await?;
            let deploy = step(
                "deploy the functions with sam",
                deployment.run(&dir, &ministack),
            );
            let forward = forward(&ministack, &deployment.stack_name, &forwarded);
            let (deployed, ()) = tokio::try_join!(deploy, forward)?;
            Ok((ministack, deployed))
        });
        let database = Box::pin(async {
            let postgres = step("start PostgreSQL", Postgres::start(&dir, postgres_port)).await?;
            let options = GraphqlOptions::new(&postgres.url(), &secrets.admin, &secrets.jwt_key);
            let start = Graphql::start(&dir, graphql_port, &options);
            let graphql = step("start the GraphQL engine", start).await?;
            Ok::<_, anyhow::Error>((postgres, graphql))
        });
        let ((ministack, deployed), (postgres, graphql)) = tokio::try_join!(functions, database)?;

        let events = match &deployed.hasura_event_url {
            Some(url) => {
                let options = EventOptions::new(&postgres.url(), url, &secrets.event);
                let start = Events::start(&dir, events_port, &options);
                Some(step("start the delivery of database events", start).await?)
            }
            None => None,
        };

        let login = postgres.login();
        let env = StackEnv {
            stack_name: deployment.stack_name,
            aws_endpoint_url: ministack.endpoint().to_owned(),
            aws_endpoint_url_ec2: ec2.endpoint().to_owned(),
            aws_region: REGION.to_owned(),
            aws_access_key_id: ACCESS_KEY_ID.to_owned(),
            aws_secret_access_key: SECRET_ACCESS_KEY.to_owned(),
            ec2_control_url: ec2.control_url(),
            database_url: postgres.url(),
            pghost: login.host,
            pgport: login.port.to_string(),
            pgdatabase: login.database,
            pguser: login.user,
            pgpassword: login.password,
            hasura_url,
            hasura_admin_secret: secrets.admin,
            hasura_jwt_key: secrets.jwt_key,
            hasura_event_secret: secrets.event,
            hasura_event_url: deployed.hasura_event_url,
            hasura_events_control_url: events.as_ref().map(|e| e.control_url().to_owned()),
            assign_user_url: deployed.assign_user_url,
            assign_user_function: deployed.assign_user_function,
            reconcile_function: deployed.reconcile_function,
            instance_state_change_function: deployed.instance_state_change_function,
            status_url: deployed.status_url,
            status_token: secrets.status,
            status_function: deployed.status_function,
            scaling_table: deployed.scaling_table,
            jwks_url: jwks.url(),
            jwt_issuer: ISSUER.to_owned(),
            jwt_audience: AUDIENCE.to_owned(),
        };
        let env_path = options.stack.env_path();
        let stack = Self {
            env,
            env_path,
            keys,
            events,
            ministack,
            ec2,
            _ec2_events: ec2_events,
            graphql,
            postgres,
            jwks,
            dir,
        };
        stack.env.write(&stack.env_path)?;
        Ok(stack)
    }

    /// Every address, name and secret.
    pub fn env(&self) -> &StackEnv {
        &self.env
    }

    pub fn dir(&self) -> &StackDir {
        &self.dir
    }

    /// The keys that sign users' tokens; see [`Stack::token`].
    pub fn keys(&self) -> &UserKeys {
        &self.keys
    }

    /// The server of the key set that the deployed functions trust.
    pub fn jwks(&self) -> &JwksServer {
        &self.jwks
    }

    pub fn ministack(&self) -> &Ministack {
        &self.ministack
    }

    /// The delivery of database events; `None` when `hasura-event` is not deployed.
    pub fn events(&self) -> Option<&Events> {
        self.events.as_ref()
    }

    pub fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    /// A token with which `user` can request a slot.
    ///
    /// # Errors
    /// When the cryptography library fails.
    pub fn token(&self, user: &str) -> Result<String> {
        Token::new(user).sign(&self.keys)
    }

    /// A GraphQL client with the administrator's permissions.
    pub fn operator(&self) -> Operator {
        Operator::new(&self.env)
    }

    pub fn sdk_config(&self) -> SdkConfig {
        self.ministack.sdk_config()
    }

    /// Invokes `reconcile`, as the schedule or an operator does, and returns its response.
    ///
    /// # Errors
    /// When the function cannot be invoked, or fails.
    pub async fn reconcile(&self, payload: &Value) -> Result<Value> {
        invoke(&self.sdk_config(), &self.env.reconcile_function, payload).await
    }

    /// Deploys `replicas.yaml` beside this stack, with which it shares only EC2 and the local AWS.
    /// Returns the name of its `reconcile` function.
    ///
    /// # Errors
    /// When `sam deploy` fails: quotes its output.
    pub async fn deploy_replicas(
        &self,
        name: &str,
        parameters: &[(String, String)],
    ) -> Result<String> {
        let stack_name = format!("{}-{name}", self.env.stack_name);
        let template = Template {
            file: &project::root().join("replicas.yaml"),
            functions: &project::local().join("functions"),
            stack_name: &stack_name,
        };
        let parameters = parameters.iter();
        template
            .deploy(&self.dir, &self.ministack, parameters)
            .await?;
        Ok(format!("{stack_name}-reconcile"))
    }

    /// The URL of a function.
    ///
    /// # Errors
    /// When the function does not exist or has no URL.
    pub async fn url_of(&self, function: &str) -> Result<String> {
        let lambda = aws_sdk_lambda::Client::new(&self.sdk_config());
        let url = function_url(&lambda, self.ministack.endpoint(), function).await?;
        url.with_context(|| format!("{function} has no URL"))
    }

    /// Waits until a component ends by itself, and returns a message with the end of its log.
    pub async fn failed(&self) -> String {
        select! {
            message = self.ministack.process().ended() => message,
            message = self.ec2.process().ended() => message,
            message = self.graphql.process().ended() => message,
            message = self.postgres.process().ended() => message,
            message = self.events_failed() => message,
        }
    }

    async fn events_failed(&self) -> String {
        match &self.events {
            Some(events) => events.process().ended().await,
            None => std::future::pending().await,
        }
    }

    /// Stops every component and removes the stack's data.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.env_path);
    }
}

/// Secrets that the functions share with the GraphQL engine, the delivery of events, and people.
struct Secrets {
    admin: String,
    jwt_key: String,
    event: String,
    status: String,
}

fn deployment(
    options: &StackOptions,
    secrets: &Secrets,
    hasura_url: &str,
    jwks: &JwksServer,
) -> Result<Deployment> {
    let enabled = options.schedule == Schedule::On;
    let own = [
        ("HasuraUrl", hasura_url.to_owned()),
        ("JwksUrl", jwks.url()),
        ("JwtIssuer", ISSUER.to_owned()),
        ("JwtAudience", AUDIENCE.to_owned()),
        ("ScheduleEnabled", enabled.to_string()),
        // The local AWS has enough executions for users who wait.
        ("MaxWaitSeconds", "20".to_owned()),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value));
    Ok(Deployment {
        template: project::root().join("template.yaml"),
        functions: project::local().join("functions"),
        stack_name: format!("scaling-{}", options.stack.name),
        jwt_key: secrets.jwt_key.clone(),
        hasura_tokens: tokens::make(&secrets.jwt_key.clone().into(), tokens::DAYS)?,
        event_secret: secrets.event.clone(),
        status_token: secrets.status.clone(),
        parameters: own
            .into_iter()
            .chain(options.parameters.iter().cloned())
            .collect(),
    })
}

/// Forwards the EC2 events of `regions`, if there are any, to the home region.
async fn forward(aws: &Ministack, service: &str, regions: &[String]) -> Result<()> {
    if regions.is_empty() {
        return Ok(());
    }
    let what = format!("forward EC2 events from {} to {REGION}", regions.join(", "));
    step(what, forward_events(&aws.sdk_config(), service, regions)).await
}
