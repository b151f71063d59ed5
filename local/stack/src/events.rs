//! Delivery of database events by `local-graphql deliver`, a process of its own. Hasura's engine
//! includes this.
//!
//! The process gets exactly the variables that `hasura/metadata` names. A trigger that needs
//! another variable fails here as it would with Hasura.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::dir::StackDir;
use crate::graphql::{Build, program};
use crate::health;
use crate::ports::ReservedPort;
use crate::process::{Process, Program};
use crate::project;

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Hasura's default number of concurrent requests.
const WORKERS: u16 = 100;

/// What docs/hasura.md recommends. Hasura's own default is a second.
const FETCH_INTERVAL: Duration = Duration::from_millis(100);

/// Hasura's own time, which no setting changes.
const LOCK: Duration = Duration::from_secs(30 * 60);

/// Which events are delivered, and to which webhook.
#[derive(Clone, Debug)]
pub struct EventOptions {
    /// Names the log; deliveries of one stack need different names.
    pub name: String,
    pub database_url: String,
    /// The metadata folder of a Hasura project.
    pub metadata: PathBuf,
    /// `HASURA_EVENT_URL`: the webhook.
    pub webhook_url: String,
    /// `HASURA_EVENT_SECRET`, which the webhook requires.
    pub secret: String,
    /// The number of concurrent requests.
    pub workers: u16,
    /// `HASURA_GRAPHQL_EVENTS_FETCH_INTERVAL`: the time between polls for events.
    pub fetch_interval: Duration,
    /// The time after which another engine sends the events that a killed one had fetched.
    pub lock: Duration,
}

impl EventOptions {
    /// Settings with the project's own metadata.
    pub fn new(database_url: &str, webhook_url: &str, secret: &str) -> Self {
        Self {
            name: "events".to_owned(),
            database_url: database_url.to_owned(),
            metadata: project::root().join("hasura/metadata"),
            webhook_url: webhook_url.to_owned(),
            secret: secret.to_owned(),
            workers: WORKERS,
            fetch_interval: FETCH_INTERVAL,
            lock: LOCK,
        }
    }
}

/// A running delivery. Dropping it stops it; undelivered events stay in the database.
#[derive(Debug)]
pub struct Events {
    process: Process,
    control_url: String,
}

impl Events {
    /// Starts the delivery and waits until it captures every change.
    ///
    /// # Errors
    /// When the program was not built, rejects the metadata, or another delivery runs for this
    /// database: quotes its log.
    pub async fn start(dir: &StackDir, port: ReservedPort, options: &EventOptions) -> Result<Self> {
        let address = format!("127.0.0.1:{}", port.port());
        let program = Program::new(&options.name, program(Build::Dev)?)
            .arg("deliver")
            .arg("--metadata")
            .arg(&options.metadata)
            .args(["--listen", &address])
            .args(["--workers", &options.workers.to_string()])
            .args([
                "--fetch-interval-ms",
                &options.fetch_interval.as_millis().to_string(),
            ])
            .args(["--lock-seconds", &options.lock.as_secs().to_string()])
            .env("DATABASE_URL", &options.database_url)
            .env("HASURA_EVENT_URL", &options.webhook_url)
            .env("HASURA_EVENT_SECRET", &options.secret);
        port.release();
        let process = program.start(dir)?;
        let control_url = format!("http://{address}");
        process
            .ready(START_TIMEOUT, async || health::responds(&control_url).await)
            .await?;
        Ok(Self {
            process,
            control_url,
        })
    }

    /// The URL of the fault injection and the log of deliveries, without a slash at the end.
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
