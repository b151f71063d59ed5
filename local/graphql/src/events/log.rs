//! The event log in Postgres: pending events, and the outcomes of deliveries.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::events::triggers::Trigger;

/// Maximum number of connections for reading events and recording outcomes.
const CONNECTIONS: u32 = 8;

/// How many deliveries are kept, and how far finished events may be behind the newest.
const RETAINED_ROWS: i64 = 100_000;

/// Locks and returns events, like Hasura's `fetchEvents`.
const FETCH: &str = r#"
    WITH due AS (
        SELECT id FROM local_events.event_log
        WHERE state = 'PENDING' AND due_at <= clock_timestamp()
            AND (locked_at IS NULL OR locked_at < clock_timestamp() - make_interval(secs => $2))
            AND trigger_name = ANY($1)
        ORDER BY due_at, seq LIMIT $3 FOR UPDATE SKIP LOCKED
    ), locked AS (
        UPDATE local_events.event_log e SET locked_at = clock_timestamp()
        FROM due WHERE e.id = due.id
        RETURNING e.*
    )
    SELECT id, trigger_name, schema_name, table_name, payload, tries, disturbed,
        to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    FROM locked ORDER BY due_at, seq"#;

const RECORD_DELIVERY: &str = "
    INSERT INTO local_events.deliveries
        (event_id, trigger_name, attempt, copy, outcome, status, error, started_at, ended_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7,
        clock_timestamp() - make_interval(secs => $8), clock_timestamp())";

const RECORD_EVENT: &str = "
    UPDATE local_events.event_log
    SET state = $2, tries = tries + $3, disturbed = disturbed OR $4,
        due_at = clock_timestamp() + make_interval(secs => $5), locked_at = NULL
    WHERE id = $1 AND state = 'PENDING'";

/// A captured change that is to be delivered.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) trigger: String,
    pub(crate) schema: String,
    pub(crate) table: String,
    /// `op`, `data`, `session_variables` and `trace_context`.
    pub(crate) payload: Value,
    /// Number of previous attempts.
    pub(crate) tries: i32,
    /// Whether a fault was applied before. Each event gets at most one.
    pub(crate) disturbed: bool,
    /// In RFC 3339 format.
    pub(crate) created_at: String,
}

/// The outcome of a delivery, which determines how the event continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    /// The attempt failed. The next one is due after this time.
    Retry(Duration),
    /// The last attempt that the metadata allows failed.
    Failed,
    /// A fault dropped the event without sending it.
    Dropped,
    /// A fault delays the first attempt by this time.
    Delayed(Duration),
}

impl Outcome {
    /// The value of `deliveries.outcome`.
    fn name(self) -> &'static str {
        match self {
            Self::Delivered => "DELIVERED",
            Self::Retry(_) => "RETRY",
            Self::Failed => "FAILED",
            Self::Dropped => "DROPPED",
            Self::Delayed(_) => "DELAYED",
        }
    }

    /// The event's new `event_log.state`.
    fn state(self) -> &'static str {
        match self {
            Self::Retry(_) | Self::Delayed(_) => "PENDING",
            finished => finished.name(),
        }
    }

    /// Time until the event is due again.
    fn delay(self) -> Duration {
        match self {
            Self::Retry(delay) | Self::Delayed(delay) => delay,
            Self::Delivered | Self::Failed | Self::Dropped => Duration::ZERO,
        }
    }

    fn is_fault(self) -> bool {
        matches!(self, Self::Dropped | Self::Delayed(_))
    }
}

/// The result of an HTTP request. The default stands for an event that was not sent.
#[derive(Debug, Default)]
pub(crate) struct RequestResult {
    /// `None` if there was no response.
    pub(crate) status: Option<u16>,
    pub(crate) error: Option<String>,
    pub(crate) duration: Duration,
}

/// Access to the tables in the database schema `local_events`.
///
/// # Errors
///
/// Every method fails if its query fails. The error names the operation.
#[derive(Debug, Clone)]
pub(crate) struct EventLog {
    pool: PgPool,
}

impl EventLog {
    /// Does not connect yet.
    ///
    /// # Errors
    ///
    /// When the URL is invalid.
    pub(crate) fn new(database_url: &str) -> Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_lazy(database_url)
            .context("DATABASE_URL is not a Postgres URL")?;
        Ok(Self { pool })
    }

    /// Locks at most `limit` events of `triggers` that are due and not locked, or locked for longer
    /// than `lock`, those that have been due for longest first.
    pub(crate) async fn fetch(
        &self,
        triggers: &[String],
        lock: Duration,
        limit: usize,
    ) -> Result<Vec<Event>> {
        type Row = (String, String, String, String, Value, i32, bool, String);
        let rows: Vec<Row> = sqlx::query_as(FETCH)
            .bind(triggers)
            .bind(lock.as_secs_f64())
            .bind(i64::try_from(limit)?)
            .fetch_all(&self.pool)
            .await
            .context("fetch due events")?;
        let event = |(id, trigger, schema, table, payload, tries, disturbed, created_at)| Event {
            id,
            trigger,
            schema,
            table,
            payload,
            tries,
            disturbed,
            created_at,
        };
        Ok(rows.into_iter().map(event).collect())
    }

    /// Unlocks events whose outcome is not recorded, so that another engine sends them at once.
    pub(crate) async fn unlock(&self, ids: &[String]) -> Result<()> {
        sqlx::query("UPDATE local_events.event_log SET locked_at = NULL WHERE id = ANY($1)")
            .bind(ids)
            .execute(&self.pool)
            .await
            .context("unlock events")?;
        Ok(())
    }

    /// Records the outcome of an event and its delivery, in one transaction.
    pub(crate) async fn record(
        &self,
        event: &Event,
        outcome: Outcome,
        result: &RequestResult,
    ) -> Result<()> {
        let operation = || format!("record the outcome of event {}", event.id);
        let mut transaction = self.pool.begin().await.with_context(operation)?;
        sqlx::query(RECORD_EVENT)
            .bind(&event.id)
            .bind(outcome.state())
            .bind(i32::from(!outcome.is_fault()))
            .bind(outcome.is_fault())
            .bind(outcome.delay().as_secs_f64())
            .execute(&mut *transaction)
            .await
            .with_context(operation)?;
        insert_delivery(event, 0, outcome, result)
            .execute(&mut *transaction)
            .await
            .with_context(operation)?;
        transaction.commit().await.with_context(operation)
    }

    /// Records the delivery of a duplicate. The event's state does not change.
    pub(crate) async fn record_copy(
        &self,
        event: &Event,
        copy: u32,
        outcome: Outcome,
        result: &RequestResult,
    ) -> Result<()> {
        insert_delivery(event, copy, outcome, result)
            .execute(&self.pool)
            .await
            .with_context(|| format!("record a duplicate of event {}", event.id))?;
        Ok(())
    }

    /// Adds an event with a given payload. Returns its id.
    pub(crate) async fn add_manual_event(
        &self,
        trigger: &Trigger,
        payload: &Value,
    ) -> Result<String> {
        let (id,): (String,) =
            sqlx::query_as("SELECT local_events.append($1, $2, $3, 'MANUAL', NULL, $4)")
                .bind(&trigger.table.schema)
                .bind(&trigger.table.name)
                .bind(&trigger.name)
                .bind(payload)
                .fetch_one(&self.pool)
                .await
                .with_context(|| format!("add a manual event of trigger `{}`", trigger.name))?;
        Ok(id)
    }

    /// Makes all pending events due now. Returns how many were not due before.
    pub(crate) async fn make_all_due(&self) -> Result<u64> {
        let updated = sqlx::query(
            "UPDATE local_events.event_log SET due_at = clock_timestamp()
             WHERE state = 'PENDING' AND due_at > clock_timestamp()",
        )
        .execute(&self.pool)
        .await
        .context("make the pending events due")?;
        Ok(updated.rows_affected())
    }

    /// The number of events in each state, as JSON.
    pub(crate) async fn counts(&self) -> Result<Value> {
        let (counts,): (Value,) = sqlx::query_as(
            "SELECT jsonb_build_object(
                'pending', count(*) FILTER (WHERE state = 'PENDING'),
                'delivered', count(*) FILTER (WHERE state = 'DELIVERED'),
                'failed', count(*) FILTER (WHERE state = 'FAILED'),
                'dropped', count(*) FILTER (WHERE state = 'DROPPED'))
             FROM local_events.event_log",
        )
        .fetch_one(&self.pool)
        .await
        .context("count the events")?;
        Ok(counts)
    }

    /// At most `limit` deliveries with a `seq` above `after`, ordered by `seq`.
    pub(crate) async fn deliveries(&self, after: i64, limit: i64) -> Result<Vec<Value>> {
        let rows: Vec<(Value,)> = sqlx::query_as(
            "SELECT to_jsonb(d) FROM local_events.deliveries d
             WHERE seq > $1 ORDER BY seq LIMIT $2",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .context("read the deliveries")?;
        Ok(rows.into_iter().map(|(row,)| row).collect())
    }

    /// Deletes old deliveries and old finished events.
    pub(crate) async fn prune(&self) -> Result<()> {
        for sql in [
            "DELETE FROM local_events.deliveries
             WHERE seq <= (SELECT max(seq) FROM local_events.deliveries) - $1",
            "DELETE FROM local_events.event_log
             WHERE state <> 'PENDING'
                AND seq <= (SELECT max(seq) FROM local_events.event_log) - $1",
        ] {
            sqlx::query(sql)
                .bind(RETAINED_ROWS)
                .execute(&self.pool)
                .await
                .context("delete old events")?;
        }
        Ok(())
    }
}

type Statement<'a> = sqlx::query::Query<'a, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// Inserts a delivery. `copy` is 0 for the event itself.
fn insert_delivery<'a>(
    event: &'a Event,
    copy: u32,
    outcome: Outcome,
    result: &'a RequestResult,
) -> Statement<'a> {
    sqlx::query(RECORD_DELIVERY)
        .bind(&event.id)
        .bind(&event.trigger)
        .bind(event.tries)
        .bind(i32::try_from(copy).unwrap_or(i32::MAX))
        .bind(outcome.name())
        .bind(result.status.map(i32::from))
        .bind(result.error.as_deref())
        .bind(result.duration.as_secs_f64())
}
