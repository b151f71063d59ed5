//! The GraphQL engine of the stack: `local-graphql`, built in a workspace of its
//! own, in the place of Hasura.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::dir::StackDir;
use crate::http;
use crate::ports::Reserved;
use crate::process::{Process, Program};
use crate::project;

const START_TIME: Duration = Duration::from_secs(60);

/// What an engine serves, and for whom.
#[derive(Clone, Debug)]
pub struct GraphqlOptions {
    /// What its log is called after; engines of one stack need different names.
    pub name: String,
    pub database_url: String,
    /// The metadata folder of a Hasura project.
    pub metadata: PathBuf,
    pub admin_secret: String,
    /// The key that host agents' tokens are signed with (HS256), at least 32
    /// bytes.
    pub jwt_key: String,
}

impl GraphqlOptions {
    /// For the project's own metadata.
    pub fn new(database_url: &str, admin_secret: &str, jwt_key: &str) -> Self {
        Self {
            name: "graphql".to_owned(),
            database_url: database_url.to_owned(),
            metadata: project::root().join("hasura/metadata"),
            admin_secret: admin_secret.to_owned(),
            jwt_key: jwt_key.to_owned(),
        }
    }
}

/// A running engine. Dropping it ends it.
#[derive(Debug)]
pub struct Graphql {
    process: Process,
    url: String,
}

impl Graphql {
    /// Starts an engine and waits until it answers.
    ///
    /// # Errors
    /// When it was not built, or refuses the metadata: its reason is quoted.
    pub async fn start(dir: &StackDir, port: Reserved, options: &GraphqlOptions) -> Result<Self> {
        let url = format!("http://127.0.0.1:{}", port.port());
        let jwt_secret = serde_json::json!({"type": "HS256", "key": options.jwt_key});
        let process = Program::new(&options.name, program()?)
            .arg("serve")
            .arg("--metadata")
            .arg(&options.metadata)
            .env("DATABASE_URL", &options.database_url)
            .env("HASURA_GRAPHQL_ADMIN_SECRET", &options.admin_secret)
            .env("HASURA_GRAPHQL_JWT_SECRET", jwt_secret.to_string())
            .args(["--listen", &format!("127.0.0.1:{}", port.release())])
            .start(dir)?;
        let health = format!("{url}/healthz");
        process
            .ready(START_TIME, async || http::answers(&health).await)
            .await?;
        Ok(Self { process, url })
    }

    /// `HASURA_URL`: the engine, without a path.
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

/// The engine's program.
///
/// # Errors
/// When it was not built.
pub fn program() -> Result<PathBuf> {
    let path = project::root().join("local/graphql/target/debug/local-graphql");
    ensure!(
        path.exists(),
        "{} is missing: run `make setup`",
        path.display()
    );
    Ok(path)
}
