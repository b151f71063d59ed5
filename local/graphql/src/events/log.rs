//! The events that wait in Postgres, and what became of them.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::events::triggers::Trigger;

/// Connections for reading and for recording outcomes.
const CONNECTIONS: u32 = 8;

/// How many finished events, and how many deliveries, are kept.
const KEPT: i64 = 100_000;

const DUE: &str = r#"
    SELECT id, trigger_name, schema_name, table_name, payload, tries, disturbed,
        to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    FROM local_events.event_log
    WHERE state = 'PENDING' AND due_at <= clock_timestamp()
        AND trigger_name = ANY($1) AND id <> ALL($2)
    ORDER BY due_at, seq LIMIT $3"#;

const NEXT_DUE: &str = "
    SELECT (extract(epoch FROM min(due_at) - clock_timestamp()) * 1000)::bigint
    FROM local_events.event_log
    WHERE state = 'PENDING' AND trigger_name = ANY($1) AND id <> ALL($2)";

const RECORD_DELIVERY: &str = "
    INSERT INTO local_events.deliveries
        (event_id, trigger_name, attempt, copy, outcome, status, error, started_at, ended_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7,
        clock_timestamp() - make_interval(secs => $8), clock_timestamp())";

const RECORD_EVENT: &str = "
    UPDATE local_events.event_log
    SET state = $2, tries = tries + $3, disturbed = disturbed OR $4,
        due_at = clock_timestamp() + make_interval(secs => $5)
    WHERE id = $1 AND state = 'PENDING'";

/// A captured change, as it waits to be delivered.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) trigger: String,
    pub(crate) schema: String,
    pub(crate) table: String,
    /// `op`, `data`, `session_variables` and `trace_context`.
    pub(crate) payload: Value,
    /// How often it was tried before.
    pub(crate) tries: i32,
    /// Whether a fault had its turn already.
    pub(crate) disturbed: bool,
    pub(crate) created_at: String,
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Delivered,
    /// Tried in vain, and to be tried again after this time.
    Retry(Duration),
    /// Tried in vain as often as the metadata says.
    Failed,
    /// Not sent at all, on demand.
    Dropped,
    /// Kept back for this time before it is tried, on demand.
    Delayed(Duration),
}

impl Fate {
    fn outcome(self) -> &'static str {
        match self {
            Self::Delivered => "DELIVERED",
            Self::Retry(_) => "RETRY",
            Self::Failed => "FAILED",
            Self::Dropped => "DROPPED",
            Self::Delayed(_) => "DELAYED",
        }
    }

    fn state(self) -> &'static str {
        match self {
            Self::Retry(_) | Self::Delayed(_) => "PENDING",
            finished => finished.outcome(),
        }
    }

    fn pause(self) -> Duration {
        match self {
            Self::Retry(pause) | Self::Delayed(pause) => pause,
            Self::Delivered | Self::Failed | Self::Dropped => Duration::ZERO,
        }
    }

    fn is_on_demand(self) -> bool {
        matches!(self, Self::Dropped | Self::Delayed(_))
    }
}

/// What happened on the way; nothing did if the event was not sent.
#[derive(Debug, Default)]
pub(crate) struct Trip {
    pub(crate) status: Option<u16>,
    pub(crate) error: Option<String>,
    pub(crate) took: Duration,
}

/// The tables in the schema `local_events`.
#[derive(Debug, Clone)]
pub(crate) struct EventLog {
    pool: PgPool,
}

impl EventLog {
    pub(crate) fn new(database_url: &str) -> Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_lazy(database_url)
            .context("DATABASE_URL is not a Postgres URL")?;
        Ok(Self { pool })
    }

    /// At most `limit` events of `triggers` whose time has come, oldest first, but
    /// for those `in_hand`.
    pub(crate) async fn due(
        &self,
        triggers: &[String],
        in_hand: &[String],
        limit: usize,
    ) -> Result<Vec<Event>> {
        type Row = (String, String, String, String, Value, i32, bool, String);
        let rows: Vec<Row> = sqlx::query_as(DUE)
            .bind(triggers)
            .bind(in_hand)
            .bind(i64::try_from(limit)?)
            .fetch_all(&self.pool)
            .await
            .context("look for events that are due")?;
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

    /// In what time the next event is due, if any waits.
    pub(crate) async fn next_due(
        &self,
        triggers: &[String],
        in_hand: &[String],
    ) -> Result<Option<Duration>> {
        let (milliseconds,): (Option<i64>,) = sqlx::query_as(NEXT_DUE)
            .bind(triggers)
            .bind(in_hand)
            .fetch_one(&self.pool)
            .await
            .context("ask when the next event is due")?;
        Ok(milliseconds.map(|ms| Duration::from_millis(ms.try_into().unwrap_or_default())))
    }

    /// Records what became of an event, and the attempt that led to it.
    pub(crate) async fn record(&self, event: &Event, fate: Fate, trip: &Trip) -> Result<()> {
        let doing = || format!("record what became of event {}", event.id);
        let mut transaction = self.pool.begin().await.with_context(doing)?;
        sqlx::query(RECORD_EVENT)
            .bind(&event.id)
            .bind(fate.state())
            .bind(i32::from(!fate.is_on_demand()))
            .bind(fate.is_on_demand())
            .bind(fate.pause().as_secs_f64())
            .execute(&mut *transaction)
            .await
            .with_context(doing)?;
        delivery(event, 0, fate, trip)
            .execute(&mut *transaction)
            .await
            .with_context(doing)?;
        transaction.commit().await.with_context(doing)
    }

    /// Records the attempt of a duplicate, which changes nothing about its event.
    pub(crate) async fn record_copy(
        &self,
        event: &Event,
        copy: u32,
        fate: Fate,
        trip: &Trip,
    ) -> Result<()> {
        delivery(event, copy, fate, trip)
            .execute(&self.pool)
            .await
            .with_context(|| format!("record a duplicate of event {}", event.id))?;
        Ok(())
    }

    /// Makes an event by hand, and answers its id.
    pub(crate) async fn invoke(&self, trigger: &Trigger, payload: &Value) -> Result<String> {
        let (id,): (String,) =
            sqlx::query_as("SELECT local_events.append($1, $2, $3, 'MANUAL', NULL, $4)")
                .bind(&trigger.table.schema)
                .bind(&trigger.table.name)
                .bind(&trigger.name)
                .bind(payload)
                .fetch_one(&self.pool)
                .await
                .with_context(|| format!("make an event of {}", trigger.name))?;
        Ok(id)
    }

    /// Makes every event that waits for its time due now, and answers how many.
    pub(crate) async fn hurry(&self) -> Result<u64> {
        let done = sqlx::query(
            "UPDATE local_events.event_log SET due_at = clock_timestamp()
             WHERE state = 'PENDING' AND due_at > clock_timestamp()",
        )
        .execute(&self.pool)
        .await
        .context("make the waiting events due")?;
        Ok(done.rows_affected())
    }

    /// How many events are in each state.
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

    /// At most `limit` deliveries after the one numbered `after`, in their order.
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

    /// Forgets all but the newest of what is finished.
    pub(crate) async fn prune(&self) -> Result<()> {
        for sql in [
            "DELETE FROM local_events.deliveries
             WHERE seq <= (SELECT max(seq) FROM local_events.deliveries) - $1",
            "DELETE FROM local_events.event_log
             WHERE state <> 'PENDING'
                AND seq <= (SELECT max(seq) FROM local_events.event_log) - $1",
        ] {
            sqlx::query(sql)
                .bind(KEPT)
                .execute(&self.pool)
                .await
                .context("forget old events")?;
        }
        Ok(())
    }
}

type Statement<'a> = sqlx::query::Query<'a, sqlx::Postgres, sqlx::postgres::PgArguments>;

fn delivery<'a>(event: &'a Event, copy: u32, fate: Fate, trip: &'a Trip) -> Statement<'a> {
    sqlx::query(RECORD_DELIVERY)
        .bind(&event.id)
        .bind(&event.trigger)
        .bind(event.tries)
        .bind(i32::try_from(copy).unwrap_or(i32::MAX))
        .bind(fate.outcome())
        .bind(trip.status.map(i32::from))
        .bind(trip.error.as_deref())
        .bind(trip.took.as_secs_f64())
}
