//! A GraphQL engine in front of a test's database, and its callers.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use hasura_adapter::{HasuraClient, HasuraDatabase, HasuraRecordings, HasuraSettings};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use local_stack::graphql::{Graphql, GraphqlOptions};
use local_stack::ports::Ports;
use reqwest::RequestBuilder;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use shared::function_token::FunctionRole;
use shared::settings::Columns;

use crate::database::{Database, launch_of, server};

pub const ADMIN_SECRET: &str = "the administrator's secret";
pub const JWT_KEY: &str = "a key of more than thirty-two bytes";

/// Long after any test.
const EXPIRES_AT: u64 = 4_102_444_800;

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    graphql: Graphql,
    http: reqwest::Client,
}

impl Engine {
    /// Starts an engine with the project's metadata. It runs every document, so that tests see what the
    /// permissions alone do.
    pub async fn start(database: &Database) -> Result<Self> {
        let options = GraphqlOptions::new(database.url(), ADMIN_SECRET, JWT_KEY);
        let project = options.metadata.clone();
        Self::with_metadata(database, &project).await
    }

    /// Starts an engine that enforces the allow list, as deployed ones do.
    pub async fn with_allow_list(database: &Database) -> Result<Self> {
        Self::with(database, |options| options.allow_list = true).await
    }

    /// Starts an engine with other metadata.
    pub async fn with_metadata(database: &Database, metadata: &Path) -> Result<Self> {
        Self::with(database, |options| options.metadata = metadata.to_owned()).await
    }

    /// Starts an engine with other settings.
    pub async fn with(
        database: &Database,
        change: impl FnOnce(&mut GraphqlOptions),
    ) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut options = GraphqlOptions::new(database.url(), ADMIN_SECRET, JWT_KEY);
        options.name = format!("graphql-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        options.allow_list = false;
        change(&mut options);
        let port = Ports::free().reserve("graphql")?;
        let graphql = Graphql::start(&server().await?.dir, port, &options).await?;
        let http = reqwest::Client::new();
        Ok(Self { graphql, http })
    }

    pub fn url(&self) -> &str {
        self.graphql.url()
    }

    pub async fn admin(&self, query: &str) -> Result<Value> {
        let request = self.request();
        send(request.header("x-hasura-admin-secret", ADMIN_SECRET), query).await
    }

    /// Sends a query as the administrator in another role.
    pub async fn as_role(&self, role: &str, query: &str) -> Result<Value> {
        let request = self
            .request()
            .header("x-hasura-admin-secret", ADMIN_SECRET)
            .header("x-hasura-role", role);
        send(request, query).await
    }

    /// Sends a query as the agent of a fixture's instance.
    pub async fn agent(&self, instance_id: &str, query: &str) -> Result<Value> {
        let claims = agent_claims(instance_id, EXPIRES_AT);
        self.bearer(&sign(&claims, JWT_KEY)?, query).await
    }

    /// Replaces the errors that the engine answers on request.
    pub async fn set_faults(&self, rules: Value) -> Result<()> {
        self.http
            .put(format!("{}/_faults", self.url()))
            .header("x-hasura-admin-secret", ADMIN_SECRET)
            .json(&json!({"rules": rules}))
            .send()
            .await?
            .error_for_status()?;
        Ok(())
    }

    /// What a function of this role connects with.
    pub fn settings(&self, role: FunctionRole) -> Result<HasuraSettings> {
        Ok(HasuraSettings {
            url: self.url().to_owned(),
            token: function_token(role, JWT_KEY)?,
            timeout: Duration::from_secs(30),
        })
    }

    /// The client of a function of this role.
    pub fn client(&self, role: FunctionRole) -> Result<HasuraClient> {
        let settings = self.settings(role)?;
        Ok(HasuraClient::new(http_client::client()?, &settings)?)
    }

    /// The database adapter of a function of this role, in front of this engine.
    pub fn adapter(&self, role: FunctionRole) -> Result<HasuraDatabase> {
        Ok(HasuraDatabase {
            client: self.client(role)?,
            environment: "dev".to_owned(),
            defaults: Columns::default(),
        })
    }

    /// Reads what regions had, as a function of this role.
    pub fn recordings(&self, role: FunctionRole) -> Result<HasuraRecordings> {
        Ok(HasuraRecordings {
            client: self.client(role)?,
            defaults: Columns::default(),
        })
    }

    pub async fn bearer(&self, token: &str, query: &str) -> Result<Value> {
        send(self.request().bearer_auth(token), query).await
    }

    /// Sends a request as a function of this role.
    pub async fn function(&self, role: FunctionRole, request: &Value) -> Result<Value> {
        let token = function_token(role, JWT_KEY)?;
        let request = self
            .request()
            .bearer_auth(token.expose_secret())
            .json(request);
        request
            .send()
            .await?
            .json()
            .await
            .context("the engine answered no JSON")
    }

    pub async fn anonymous(&self, query: &str) -> Result<Value> {
        send(self.request(), query).await
    }

    fn request(&self) -> RequestBuilder {
        self.http.post(format!("{}/v1/graphql", self.url()))
    }
}

/// A function's token, valid long after any test.
pub fn function_token(role: FunctionRole, key: &str) -> Result<SecretString> {
    let expires_at = Timestamp::from_second(i64::try_from(EXPIRES_AT)?)?;
    Ok(role.token(&key.into(), expires_at)?)
}

async fn send(request: RequestBuilder, query: &str) -> Result<Value> {
    let response = request.json(&json!({"query": query})).send().await?;
    response.json().await.context("the engine answered no JSON")
}

/// The claims of a host agent's token.
pub fn agent_claims(instance_id: &str, expires_at: u64) -> Value {
    json!({
        "exp": expires_at,
        "https://hasura.io/jwt/claims": {
            "x-hasura-default-role": "host_agent",
            "x-hasura-allowed-roles": ["host_agent"],
            "x-hasura-launch-id": launch_of(instance_id),
        },
    })
}

pub fn sign(claims: &Value, key: &str) -> Result<String> {
    let key = EncodingKey::from_secret(key.as_bytes());
    Ok(jsonwebtoken::encode(
        &Header::new(Algorithm::HS256),
        claims,
        &key,
    )?)
}

/// The code of the first error in an answer, empty if there is none.
pub fn error_code(answer: &Value) -> &str {
    answer["errors"][0]["extensions"]["code"]
        .as_str()
        .unwrap_or_default()
}
