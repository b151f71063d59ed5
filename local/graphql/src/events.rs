//! Event triggers, which Hasura has and postrust does not. Triggers in Postgres write
//! each change to a log, in the transaction that makes the change. A loop delivers the
//! logged events to their webhooks by Hasura's rules.
//!
//! - [`capture`]: generates the Postgres triggers from the metadata;
//! - [`log`]: the logged events and the outcomes of their deliveries;
//! - [`triggers`], [`webhook`]: what to send where, and what a response means;
//! - [`delivery`]: the loop;
//! - [`faults`], [`controls`], [`control_api`]: how tests disturb the delivery.
//!
//! It runs as its own process, `local-graphql deliver`, instead of inside the engine.
//! In a stack, the webhook's address is known only after the engine has started, and
//! tests kill the two processes independently.

mod capture;
mod control_api;
mod controls;
mod delivery;
mod faults;
mod log;
mod triggers;
mod webhook;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::events::controls::Controls;
use crate::events::delivery::{DeliveryLoop, EventSender, Timing};
use crate::events::log::EventLog;
use crate::events::triggers::Triggers;
use crate::events::webhook::Webhook;
use crate::metadata::Metadata;

/// Advisory lock of the one process that delivers the events of a database. The number
/// is arbitrary, but no other program may use it.
const ADVISORY_LOCK: i64 = 0x6c6f_6361_6c65_7674;

/// How long to wait for the lock: Postgres may need this long to notice that the
/// previous process was killed.
const LOCK_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the end waits for a fetch in progress.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);

/// The time in which events are unlocked after that: a busy machine may need seconds, and the
/// stack kills whoever takes ten for both.
const UNLOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Delay between attempts to reconnect to Postgres.
const RECONNECT_DELAY: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(crate) struct DeliverArgs {
    /// Metadata folder of the Hasura project.
    #[arg(long, default_value = "hasura/metadata")]
    metadata: PathBuf,
    /// Loopback address of the control endpoint. Port 0 selects a free port.
    #[arg(long, default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// Maximum number of concurrent requests, like Hasura's HASURA_GRAPHQL_EVENTS_HTTP_POOL_SIZE.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    workers: u16,
    /// Milliseconds between polls for events, while there are none.
    #[arg(long, env = "HASURA_GRAPHQL_EVENTS_FETCH_INTERVAL", default_value_t = 1000,
        value_parser = clap::value_parser!(u64).range(1..))]
    fetch_interval_ms: u64,
    /// Age from which the lock of a killed engine on an event counts no more. Hasura's is fixed.
    #[arg(long, default_value_t = 30 * 60)]
    lock_seconds: u64,
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

/// Delivers events until SIGTERM or SIGINT.
///
/// # Errors
///
/// When an argument, a variable or the metadata is invalid, when Postgres is not
/// reachable at the start, or when another process delivers the events of this
/// database. Later failures of Postgres are logged, and the delivery reconnects.
pub(crate) async fn deliver(args: &DeliverArgs) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    ensure!(
        args.listen.ip().is_loopback(),
        "--listen {}: the control endpoint must have a loopback address",
        args.listen
    );
    let metadata = Metadata::read(&args.metadata)?;
    let sender = Arc::new(EventSender {
        log: EventLog::new(&args.database_url)?,
        webhook: Webhook::new()?,
        triggers: read_triggers(&metadata)?,
        controls: Arc::new(Controls::new(args.workers.into())),
        timing: Timing {
            fetch_interval: Duration::from_millis(args.fetch_interval_ms),
            lock: Duration::from_secs(args.lock_seconds),
        },
        locked: Mutex::new(BTreeSet::new()),
    });
    let holder = start_capturing(&args.database_url, &metadata).await?;
    let socket = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let names: Vec<_> = sender.triggers.keys().collect();
    info!(
        triggers = ?names,
        control_url = %format_args!("http://{}/", socket.local_addr()?),
        "event delivery ready"
    );
    let app = control_api::router(Arc::clone(&sender));
    let (stop, stopped) = watch::channel(false);
    // A fetch that is dropped can reach Postgres after the unlocking, and lock again.
    let last_fetch = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.send_replace(true);
        tokio::time::sleep(FETCH_TIMEOUT).await;
    };
    tokio::select! {
        served = axum::serve(socket, app) => served?,
        () = keep_delivering(args, &metadata, Arc::clone(&sender), holder, stopped) => {}
        () = last_fetch => warn!("Postgres does not answer"),
    }
    // Postgres may be gone already, and the pool would wait for it.
    match tokio::time::timeout(UNLOCK_TIMEOUT, sender.unlock()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(error = %format_args!("{error:#}"), "events stay locked"),
        Err(_) => warn!("events stay locked: Postgres did not answer"),
    }
    Ok(())
}

/// Reads the triggers, with the environment variables that the metadata names.
fn read_triggers(metadata: &Metadata) -> Result<Triggers> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads settings"
    )]
    let variable = |name: &str| std::env::var(name).ok();
    triggers::read(metadata, variable)
}

/// Takes the advisory lock and installs the triggers. All changes are captured from then
/// on. Returns the connection that holds the lock.
async fn start_capturing(database_url: &str, metadata: &Metadata) -> Result<PgConnection> {
    let mut holder = PgConnection::connect(database_url)
        .await
        .context("cannot connect to DATABASE_URL")?;
    let timeout = LOCK_TIMEOUT.as_millis();
    let lock = format!("SET lock_timeout = {timeout}; SELECT pg_advisory_lock({ADVISORY_LOCK})");
    sqlx::raw_sql(AssertSqlSafe(lock))
        .execute(&mut holder)
        .await
        .context("another process delivers the events of this database")?;
    let mut connection = PgConnection::connect(database_url).await?;
    capture::install(&mut connection, metadata).await?;
    connection.close().await?;
    Ok(holder)
}

/// Delivers events until it is `stopped`, and reconnects after failures of Postgres.
async fn keep_delivering(
    args: &DeliverArgs,
    metadata: &Metadata,
    sender: Arc<EventSender>,
    mut holder: PgConnection,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let delivered = DeliveryLoop::new(Arc::clone(&sender))
            .run(&mut holder, &mut stopped)
            .await;
        match delivered {
            Ok(()) => return,
            Err(error) => {
                warn!(error = %format_args!("{error:#}"), "event delivery interrupted; reconnecting");
            }
        }
        // Releases the advisory lock, which `start_capturing` takes again.
        drop(holder);
        holder = loop {
            if tokio::time::timeout(RECONNECT_DELAY, stopped.wait_for(|stopped| *stopped))
                .await
                .is_ok()
            {
                return;
            }
            match start_capturing(&args.database_url, metadata).await {
                Ok(holder) => break holder,
                Err(error) => {
                    warn!(error = %format_args!("{error:#}"), "reconnecting to Postgres failed");
                }
            }
        };
    }
}
