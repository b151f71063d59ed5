//! Serves the engine over HTTP on the paths that Hasura has.
//!
//! The metadata is compared with the database before anything is served, so that a
//! mistake stops the engine instead of changing what a role can see.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use clap::{ArgAction, Args};
use postrust_core::AppConfig;
use postrust_server::{Builder, Host};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tower::ServiceExt;
use tracing::info;

use crate::catalog::{Catalog, SCHEMA};
use crate::connections;
use crate::hasura::{AllowList, Hasura, Lanes, Settings};
use crate::metadata::Metadata;
use crate::stored_metadata;
use crate::translate::to_postrust;

/// The variable from which postrust reads names and permissions.
const METADATA_VARIABLE: &str = "PGRST_GRAPHQL_METADATA";

/// The shortest HS256 key that Hasura accepts, in bytes.
const MIN_KEY_BYTES: usize = 32;

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Metadata folder of the Hasura project.
    #[arg(long, default_value = "hasura/metadata")]
    metadata: PathBuf,
    /// Address to listen on. Port 0 selects a free port.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Maximum number of database connections. Hasura's default.
    #[arg(long, default_value_t = 50)]
    pool: u32,
    /// Shows everybody the internal part of errors.
    #[arg(long, env = "HASURA_GRAPHQL_DEV_MODE", action = ArgAction::Set, default_value_t = false)]
    dev_mode: bool,
    /// Shows administrators the internal part of errors.
    #[arg(long, env = "HASURA_GRAPHQL_ADMIN_INTERNAL_ERRORS", action = ArgAction::Set,
        default_value_t = false)]
    admin_internal_errors: bool,
    /// Lets roles send the documents of the allow list only.
    #[arg(long, env = "HASURA_GRAPHQL_ENABLE_ALLOWLIST", action = ArgAction::Set, default_value_t = false)]
    enable_allowlist: bool,
    /// Closes connections on which no request came for this time, as Hasura's server does.
    #[arg(long, default_value_t = 30)]
    keep_alive_seconds: u64,
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    #[arg(long, env = "HASURA_GRAPHQL_ADMIN_SECRET", hide_env_values = true)]
    admin_secret: String,
    /// `{"type": "HS256", "key": "..."}`, in Hasura's format.
    #[arg(long, env = "HASURA_GRAPHQL_JWT_SECRET", hide_env_values = true)]
    jwt_secret: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JwtSecret {
    r#type: String,
    key: String,
}

/// The engine's configuration and its metadata document.
pub(crate) struct Engine {
    config: AppConfig,
    /// The configuration of an engine with one connection.
    lane_config: AppConfig,
    document: String,
    metadata: Metadata,
}

impl Engine {
    /// Reads the metadata, checks it against the database, and translates it for
    /// postrust.
    ///
    /// # Errors
    ///
    /// When an argument or the metadata is invalid, or the metadata does not match
    /// the database.
    pub(crate) async fn prepare(args: &ServeArgs) -> Result<Self> {
        let metadata = Metadata::read(&args.metadata)?;
        let catalog = Catalog::read(&args.database_url).await?;
        catalog
            .check(&metadata)
            .context("the metadata does not match the database")?;
        let document = to_postrust(&metadata, &catalog)?.to_string();

        let options: PgConnectOptions = args
            .database_url
            .parse()
            .context("DATABASE_URL is not a Postgres URL")?;
        let key = hs256_key(&args.jwt_secret)?;
        let config = |pool: u32| {
            AppConfig::try_from_vars([
                ("DATABASE_URL", args.database_url.as_str()),
                ("PGRST_DB_SCHEMAS", SCHEMA),
                // Hasura's roles are not database roles: one database user runs all queries.
                ("PGRST_DB_ANON_ROLE", options.get_username()),
                ("PGRST_DB_POOL", &pool.to_string()),
                ("HASURA_GRAPHQL_ADMIN_SECRET", &args.admin_secret),
                ("PGRST_JWT_SECRET", &key),
            ])
        };
        ensure!(
            !args.admin_secret.is_empty(),
            "HASURA_GRAPHQL_ADMIN_SECRET must not be empty"
        );

        stored_metadata::store(&args.database_url, &metadata.stored)
            .await
            .context("store the metadata")?;
        Ok(Self {
            config: config(args.pool)?,
            lane_config: config(1)?,
            document,
            metadata,
        })
    }

    /// Sets the environment variable from which postrust reads the metadata.
    ///
    /// # Safety
    ///
    /// The process must not have other threads: they could read the environment while
    /// it changes.
    pub(crate) unsafe fn set_metadata_variable(&self) {
        // SAFETY: the caller promises that this is the only thread.
        unsafe { std::env::set_var(METADATA_VARIABLE, &self.document) };
    }

    /// Serves until SIGTERM or SIGINT.
    ///
    /// # Errors
    ///
    /// When the engine has no schema or the address is not available.
    pub(crate) async fn serve(self, args: &ServeArgs) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;

        // WebSockets are for subscriptions, which the project does not use.
        let mut host = Host::SERVER;
        host.websockets = false;
        let app = Builder::new(self.config, host)
            .layer(middleware::from_fn(reject_other_paths))
            .build()
            .await?;
        check_schema(app.router.clone(), &args.admin_secret).await?;
        let settings = Settings {
            admin_secret: args.admin_secret.clone(),
            dev_mode: args.dev_mode,
            admin_internal_errors: args.admin_internal_errors,
            allow_list: args
                .enable_allowlist
                .then(|| AllowList::new(&self.metadata.allow_list)),
            hidden_fields: self.metadata.hidden_fields(),
        };
        let lanes = Lanes::new(self.lane_config);
        let functions = self.metadata.functions.into_iter();
        let functions = functions.map(|it| it.function.name).collect();
        let router = Hasura::new(settings, app.router, lanes, functions).router();

        let listener = TcpListener::bind(args.listen)
            .await
            .with_context(|| format!("cannot listen on {}", args.listen))?;
        let address = listener.local_addr()?;
        info!(url = %format_args!("http://{address}/v1/graphql"), "engine ready");
        tokio::select! {
            () = connections::serve(listener, router, args.keep_alive_seconds) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    }
}

fn hs256_key(setting: &str) -> Result<String> {
    // The error's cause is omitted, because it could quote the key.
    let Ok(secret) = serde_json::from_str::<JwtSecret>(setting) else {
        bail!(r#"HASURA_GRAPHQL_JWT_SECRET must be {{"type": "HS256", "key": "..."}}"#);
    };
    ensure!(
        secret.r#type == "HS256",
        "HASURA_GRAPHQL_JWT_SECRET: only HS256 is supported"
    );
    ensure!(
        secret.key.len() >= MIN_KEY_BYTES,
        "HASURA_GRAPHQL_JWT_SECRET: the key must have at least {MIN_KEY_BYTES} bytes"
    );
    Ok(secret.key)
}

/// Rejects paths that Hasura does not have. postrust also serves a REST interface, which
/// ignores Hasura's roles.
async fn reject_other_paths(request: Request, next: Next) -> Response {
    match request.uri().path() {
        "/v1/graphql" | "/v1/version" | "/healthz" => next.run(request).await,
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Sends one query. postrust starts even if it could not build a schema, and reports
/// that only in its responses.
async fn check_schema(router: Router, admin_secret: &str) -> Result<()> {
    let request = Request::post("/v1/graphql")
        .header("content-type", "application/json")
        .header("x-hasura-admin-secret", admin_secret)
        .body(Body::from(json!({"query": "{ __typename }"}).to_string()))?;
    let response = router.oneshot(request).await?;
    let body = to_bytes(response.into_body(), 64 * 1024).await?;
    let response: Value =
        serde_json::from_slice(&body).context("the engine's response is not JSON")?;
    ensure!(
        response.get("data").is_some(),
        "the engine could not build a schema: {response}"
    );
    Ok(())
}
