//! The stack's GraphQL engine in place of Hasura: `local-graphql`, built in a workspace of its own.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::dir::StackDir;
use crate::health;
use crate::ports::ReservedPort;
use crate::process::{Process, Program};
use crate::project;

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Hasura's own time, which no setting changes.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How an engine was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// By `make setup`.
    Dev,
    /// By `make bench`.
    Release,
}

/// The settings of an engine.
#[derive(Clone, Debug)]
pub struct GraphqlOptions {
    /// Names the log; engines of one stack need different names.
    pub name: String,
    /// The build of the engine.
    pub build: Build,
    pub database_url: String,
    /// The metadata folder of a Hasura project.
    pub metadata: PathBuf,
    pub admin_secret: String,
    /// The key that signs the tokens of functions and host agents (HS256), at least 32 bytes.
    pub jwt_key: String,
    /// The time after which a connection without requests is closed.
    pub keep_alive: Duration,
    /// `HASURA_GRAPHQL_ADMIN_INTERNAL_ERRORS`: the administrator sees PostgreSQL's codes.
    pub admin_internal_errors: bool,
    /// `HASURA_GRAPHQL_ENABLE_ALLOWLIST`, which docs/hasura.md asks for.
    pub allow_list: bool,
}

impl GraphqlOptions {
    /// Settings with the project's own metadata.
    pub fn new(database_url: &str, admin_secret: &str, jwt_key: &str) -> Self {
        Self {
            name: "graphql".to_owned(),
            build: Build::Dev,
            database_url: database_url.to_owned(),
            metadata: project::root().join("hasura/metadata"),
            admin_secret: admin_secret.to_owned(),
            jwt_key: jwt_key.to_owned(),
            keep_alive: KEEP_ALIVE,
            admin_internal_errors: true,
            allow_list: true,
        }
    }
}

/// A running engine. Dropping it stops it.
#[derive(Debug)]
pub struct Graphql {
    process: Process,
    url: String,
}

impl Graphql {
    /// Starts an engine and waits until it responds.
    ///
    /// # Errors
    /// When the engine was not built, or rejects the metadata: quotes its log.
    pub async fn start(
        dir: &StackDir,
        port: ReservedPort,
        options: &GraphqlOptions,
    ) -> Result<Self> {
        let url = format!("http://127.0.0.1:{}", port.port());
        let jwt_secret = serde_json::json!({"type": "HS256", "key": options.jwt_key});
        let process = Program::new(&options.name, program(options.build)?)
            .arg("serve")
            .arg("--metadata")
            .arg(&options.metadata)
            .env("DATABASE_URL", &options.database_url)
            .env("HASURA_GRAPHQL_ADMIN_SECRET", &options.admin_secret)
            .env("HASURA_GRAPHQL_JWT_SECRET", jwt_secret.to_string())
            .env(
                "HASURA_GRAPHQL_ADMIN_INTERNAL_ERRORS",
                options.admin_internal_errors.to_string(),
            )
            .env(
                "HASURA_GRAPHQL_ENABLE_ALLOWLIST",
                options.allow_list.to_string(),
            )
            .args([
                "--keep-alive-seconds",
                &options.keep_alive.as_secs().to_string(),
            ])
            .args(["--listen", &format!("127.0.0.1:{}", port.release())])
            .start(dir)?;
        let health = format!("{url}/healthz");
        process
            .ready(START_TIMEOUT, async || health::responds(&health).await)
            .await?;
        Ok(Self { process, url })
    }

    /// The engine's address without a path: `HASURA_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn stop(&mut self) {
        self.process.stop();
    }
}

/// The path of the engine's program.
///
/// # Errors
/// When it was not built.
pub fn program(build: Build) -> Result<PathBuf> {
    let (profile, builder) = match build {
        Build::Dev => ("debug", "make setup"),
        Build::Release => ("release", "make bench"),
    };
    let path = project::root().join(format!("local/graphql/target/{profile}/local-graphql"));
    ensure!(
        path.exists(),
        "{} is missing: run `{builder}`",
        path.display()
    );
    Ok(path)
}
