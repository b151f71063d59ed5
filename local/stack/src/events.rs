//! The stack's delivery of database events, which Hasura's engine does by itself:
//! `local-graphql deliver`, in a process of its own.
//!
//! The variables that it gets are those that `hasura/metadata` names, so that a
//! trigger which asks for another one fails here as it would there.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::dir::StackDir;
use crate::graphql::program;
use crate::http;
use crate::ports::Reserved;
use crate::process::{Process, Program};
use crate::project;

const START_TIME: Duration = Duration::from_secs(60);

/// Hasura's own number of requests at a time.
const WORKERS: u16 = 100;

/// Whose events are delivered, and to whom.
#[derive(Clone, Debug)]
pub struct EventOptions {
    /// What its log is called after; deliveries of one stack need different names.
    pub name: String,
    pub database_url: String,
    /// The metadata folder of a Hasura project.
    pub metadata: PathBuf,
    /// `HASURA_EVENT_URL`: the webhook.
    pub webhook_url: String,
    /// `HASURA_EVENT_SECRET`, which the webhook asks for.
    pub secret: String,
    /// Requests at a time.
    pub workers: u16,
}

impl EventOptions {
    /// For the project's own metadata.
    pub fn new(database_url: &str, webhook_url: &str, secret: &str) -> Self {
        Self {
            name: "events".to_owned(),
            database_url: database_url.to_owned(),
            metadata: project::root().join("hasura/metadata"),
            webhook_url: webhook_url.to_owned(),
            secret: secret.to_owned(),
            workers: WORKERS,
        }
    }
}

/// A running delivery. Dropping it ends it; the events that wait stay in the database.
#[derive(Debug)]
pub struct Events {
    process: Process,
    control_url: String,
}

impl Events {
    /// Starts it and waits until every change is captured.
    ///
    /// # Errors
    /// When it was not built, refuses the metadata, or another one delivers the
    /// events of this database: its reason is quoted.
    pub async fn start(dir: &StackDir, port: Reserved, options: &EventOptions) -> Result<Self> {
        let address = format!("127.0.0.1:{}", port.port());
        let program = Program::new(&options.name, program()?)
            .arg("deliver")
            .arg("--metadata")
            .arg(&options.metadata)
            .args(["--listen", &address])
            .args(["--workers", &options.workers.to_string()])
            .env("DATABASE_URL", &options.database_url)
            .env("HASURA_EVENT_URL", &options.webhook_url)
            .env("HASURA_EVENT_SECRET", &options.secret);
        port.release();
        let process = program.start(dir)?;
        let control_url = format!("http://{address}");
        process
            .ready(START_TIME, async || http::answers(&control_url).await)
            .await?;
        Ok(Self {
            process,
            control_url,
        })
    }

    /// Where the faults and the log of deliveries are, without a slash at the end.
    pub fn control_url(&self) -> &str {
        &self.control_url
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn stop(&mut self) {
        self.process.stop();
    }
}
