//! Event triggers, which Hasura has and postrust has not: changes are captured in
//! Postgres, in the transaction that makes them, and brought to their webhooks by
//! Hasura's rules.
//!
//! - [`capture`]: the triggers in Postgres, made of the metadata;
//! - [`log`]: the events that wait there, and what became of them;
//! - [`triggers`], [`webhook`]: whom to call, and what the answer means;
//! - [`delivery`]: the loop;
//! - [`controls`], [`faults`], [`control`]: what tests do to it.
//!
//! It runs as a process of its own, `local-graphql deliver`: in a stack, the
//! webhook's address is known only after the engine has been started, and a test
//! can kill the one without the other.

mod capture;
mod control;
mod controls;
mod delivery;
mod faults;
mod log;
mod triggers;
mod webhook;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use sqlx::postgres::PgListener;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use crate::events::controls::Controls;
use crate::events::delivery::{Courier, Delivery};
use crate::events::log::EventLog;
use crate::events::triggers::Triggers;
use crate::events::webhook::Webhook;
use crate::metadata::Metadata;

/// What Postgres tells of new events on.
const CHANNEL: &str = "local_events";

/// Held by the one process that delivers the events of a database. Any number
/// that nobody else takes.
const LOCK: i64 = 0x6c6f_6361_6c65_7674;

/// For a process that was killed just now, until Postgres has noticed.
const LOCK_WAIT: Duration = Duration::from_secs(15);

/// Pause after Postgres failed.
const RECONNECT: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(crate) struct DeliverArgs {
    /// Metadata folder of the Hasura project.
    #[arg(long, default_value = "hasura/metadata")]
    metadata: PathBuf,
    /// Loopback address of the control endpoint; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// Requests at a time; what Hasura calls HASURA_GRAPHQL_EVENTS_HTTP_POOL_SIZE.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    workers: u16,
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

/// Delivers events until it is told to stop.
///
/// # Errors
///
/// When it cannot start. Later failures of Postgres are waited out.
pub(crate) async fn deliver(args: &DeliverArgs) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    ensure!(
        args.listen.ip().is_loopback(),
        "{}: the control endpoint is for this machine alone",
        args.listen
    );
    let metadata = Metadata::read(&args.metadata)?;
    let courier = Arc::new(Courier {
        log: EventLog::new(&args.database_url)?,
        webhook: Webhook::new()?,
        triggers: from_environment(&metadata)?,
        controls: Arc::new(Controls::new(args.workers.into())),
    });
    let postgres = begin(&args.database_url, &metadata).await?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let names: Vec<_> = courier.triggers.keys().collect();
    info!(triggers = ?names, "ready: http://{}/", listener.local_addr()?);
    let app = control::router(Arc::clone(&courier));
    tokio::select! {
        served = axum::serve(listener, app) => served?,
        never = keep_delivering(args, &metadata, courier, postgres) => match never {},
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// The names of the variables stand in the metadata.
fn from_environment(metadata: &Metadata) -> Result<Triggers> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads settings"
    )]
    let variable = |name: &str| std::env::var(name).ok();
    triggers::read(metadata, variable)
}

/// Becomes the one that delivers, and has changes captured from now on.
async fn begin(database_url: &str, metadata: &Metadata) -> Result<PgListener> {
    let mut listener = PgListener::connect(database_url)
        .await
        .context("cannot connect to DATABASE_URL")?;
    // The lock goes with the connection: another one would be without.
    listener.eager_reconnect(false);
    let wait = LOCK_WAIT.as_millis();
    let lock = format!("SET lock_timeout = {wait}; SELECT pg_advisory_lock({LOCK})");
    sqlx::raw_sql(AssertSqlSafe(lock))
        .execute(&mut listener)
        .await
        .context("another process delivers the events of this database")?;
    let mut connection = PgConnection::connect(database_url).await?;
    capture::install(&mut connection, metadata).await?;
    connection.close().await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// Goes on for ever, through failures of Postgres.
async fn keep_delivering(
    args: &DeliverArgs,
    metadata: &Metadata,
    courier: Arc<Courier>,
    mut postgres: PgListener,
) -> std::convert::Infallible {
    loop {
        let delivered = Delivery::new(Arc::clone(&courier)).run(&mut postgres).await;
        if let Err(error) = delivered {
            error!("delivery is interrupted: {error:#}");
        }
        // The lock goes with it.
        drop(postgres);
        postgres = loop {
            tokio::time::sleep(RECONNECT).await;
            match begin(&args.database_url, metadata).await {
                Ok(postgres) => break postgres,
                Err(error) => error!("delivery cannot go on: {error:#}"),
            }
        };
    }
}
