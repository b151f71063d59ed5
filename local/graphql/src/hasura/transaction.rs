//! One transaction for all fields of a mutation.
//!
//! postrust begins and commits a transaction for each function. Here, such a mutation gets an engine
//! whose pool has one connection, on which a transaction has begun already. postrust's transactions
//! are then savepoints in it, and their locks and settings last until all fields are done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use postrust_core::AppConfig;
use postrust_server::{AppState, Builder, Host};
use serde_json::json;
use sqlx::{Database, PgConnection, Postgres};
use sqlx_core::transaction::TransactionManager;
use tokio::sync::{Mutex, Semaphore};

use super::{Answer, run};

/// How many mutations of several fields run at once.
const LANES: usize = 8;

/// Below the age at which the pool replaces a connection, which would end the transaction.
const MAX_AGE: Duration = Duration::from_secs(15 * 60);

type Transactions = <Postgres as Database>::TransactionManager;

/// Engines with one connection each. They are started as they are needed.
pub(crate) struct Lanes {
    config: AppConfig,
    idle: Mutex<Vec<Lane>>,
    free: Semaphore,
}

struct Lane {
    router: Router,
    state: Arc<AppState>,
    started: Instant,
}

impl Lanes {
    /// `config` is the engine's, with the number of connections for one lane: 1.
    pub(crate) fn new(config: AppConfig) -> Self {
        Self {
            config,
            idle: Mutex::default(),
            free: Semaphore::new(LANES),
        }
    }

    /// Runs a mutation in one transaction, which is committed if its answer has no errors.
    pub(super) async fn run(&self, request: impl Fn() -> Request<Body>) -> Answer {
        match self.try_run(request).await {
            Ok(answer) => answer,
            // In postrust's form, for `errors` to translate.
            Err(error) => {
                let extensions = json!({"path": "$", "code": "postgres-error"});
                Answer::error(&format!("{error:#}"), &extensions)
            }
        }
    }

    async fn try_run(&self, request: impl Fn() -> Request<Body>) -> Result<Answer> {
        let _permit = self.free.acquire().await?;
        let mut lane = self.take().await?;
        if lane.begin().await.is_err() {
            // The connection died while the lane was idle.
            lane = Lane::start(&self.config).await?;
            lane.begin().await?;
        }
        let answer = Answer::read(run(lane.router.clone(), request()).await).await;
        // A lane that cannot end its transaction is dropped, with its connection.
        lane.end(!answer.has_errors()).await?;
        self.idle.lock().await.push(lane);
        Ok(answer)
    }

    async fn take(&self) -> Result<Lane> {
        while let Some(lane) = self.idle.lock().await.pop() {
            if lane.started.elapsed() < MAX_AGE {
                return Ok(lane);
            }
        }
        Lane::start(&self.config).await
    }
}

impl Lane {
    async fn start(config: &AppConfig) -> Result<Self> {
        let mut host = Host::SERVER;
        host.websockets = false;
        host.background_tasks = false;
        let app = Builder::new(config.clone(), host).build().await?;
        Ok(Self {
            router: app.router,
            state: app.state,
            started: Instant::now(),
        })
    }

    /// Begins the transaction and leaves it on the pool's one connection.
    async fn begin(&self) -> Result<()> {
        let mut connection = self.state.pool.acquire().await?;
        Transactions::begin(&mut connection, None).await?;
        Ok(())
    }

    async fn end(&self, commit: bool) -> Result<()> {
        let mut connection = self.state.pool.acquire().await?;
        let connection: &mut PgConnection = &mut connection;
        if !commit {
            return Ok(Transactions::rollback(connection).await?);
        }
        ensure!(
            Transactions::get_transaction_depth(connection) == 1,
            "error communicating with database: the connection was replaced within a mutation"
        );
        Transactions::commit(connection)
            .await
            .context("commit the mutation")?;
        Ok(())
    }
}
