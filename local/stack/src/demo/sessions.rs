//! How each session ended, from the database: see `sessions.sql`.
//!
//! A trigger of the demonstration records every session, so that the checks do not rely on what the
//! service reports about itself.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio_postgres::{Client, NoTls, Row};

use super::history::DayHistory;
use super::witness::Stay;

/// Creates the table `demo.sessions` and the trigger that records sessions in it.
pub const RECORD_SESSIONS_SQL: &str = include_str!("sessions.sql");

/// A connection that reads the recorded sessions.
#[derive(Debug)]
pub(super) struct SessionLog(Client);

/// A recorded session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) slot: String,
    pub(super) user: String,
    pub(super) instance: String,
    pub(super) client_sha: String,
    /// How long the user waited in line, as the service stored it.
    pub(super) waited: Duration,
    /// How the session ended; `None` while it lasts.
    pub(super) ended: Option<String>,
}

impl Session {
    /// Whether the instance ended before the session did.
    pub(super) fn was_cut_off(&self) -> bool {
        self.ended.as_deref() == Some("cut off")
    }
}

impl SessionLog {
    /// Connects to the database and records sessions from now on.
    ///
    /// # Errors
    /// When the database cannot be reached or already has the trigger.
    pub(super) async fn start(database_url: &str) -> Result<Self> {
        let (client, connection) = tokio_postgres::connect(database_url, NoTls)
            .await
            .context("connect to PostgreSQL")?;
        // An error of the connection also reaches the client, where it is handled.
        tokio::spawn(connection);
        let script = client.batch_execute(RECORD_SESSIONS_SQL).await;
        script.context("create the trigger that records sessions")?;
        Ok(Self(client))
    }

    /// All sessions so far.
    pub(super) async fn all(&self) -> Result<Vec<Session>> {
        let sql = "SELECT slot_id::text, user_id, instance_id, client_sha, waited_seconds, ended
                   FROM demo.sessions";
        let rows = self.0.query(sql, &[]).await.context("read the sessions")?;
        let session = |row: &Row| Session {
            slot: row.get(0),
            user: row.get(1),
            instance: row.get(2),
            client_sha: row.get(3),
            waited: Duration::try_from_secs_f64(row.get(4)).unwrap_or(Duration::MAX),
            ended: row.get(5),
        };
        Ok(rows.iter().map(session).collect())
    }

    /// The database's time, in seconds since 1970.
    pub(super) async fn now(&self) -> Result<f64> {
        let sql = "SELECT date_part('epoch', clock_timestamp())";
        let row = self.0.query_one(sql, &[]).await;
        Ok(row.context("read the database's time")?.get(0))
    }

    /// What the service's own history has.
    pub(super) async fn history(&self) -> Result<DayHistory> {
        DayHistory::read(&self.0).await
    }

    /// The times of all sessions, by instance.
    pub(super) async fn stays(&self) -> Result<BTreeMap<String, Vec<Stay>>> {
        let sql = "SELECT instance_id, date_part('epoch', began_at), date_part('epoch', ended_at)
                   FROM demo.sessions";
        let rows = self.0.query(sql, &[]).await;
        let mut stays: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for row in rows.context("read the times of sessions")? {
            let (from, to) = (row.get(1), row.get(2));
            stays.entry(row.get(0)).or_default().push(Stay { from, to });
        }
        Ok(stays)
    }

    /// When the row of each instance was deleted.
    pub(super) async fn instances_gone(&self) -> Result<BTreeMap<String, f64>> {
        let sql = "SELECT instance_id, date_part('epoch', gone_at) FROM demo.instances";
        let rows = self.0.query(sql, &[]).await;
        let rows = rows.context("read the ends of instances")?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// All sessions so far on one instance.
    pub(super) async fn on_instance(&self, instance: &str) -> Result<Vec<Session>> {
        let mut sessions = self.all().await?;
        sessions.retain(|session| session.instance == instance);
        Ok(sessions)
    }

    /// The active instance of a region with the most running sessions, and their number. Of
    /// several, the one whose sessions are the youngest.
    pub(super) async fn busiest_instance(&self, region: &str) -> Result<Option<(String, i64)>> {
        let sql = "SELECT i.id, count(*) FROM instances i JOIN slots s ON s.instance_id = i.id
                   WHERE i.region = $1 AND i.status = 'ACTIVE' AND s.status = 'RUNNING'
                   GROUP BY i.id
                   ORDER BY count(*) DESC, avg(extract(epoch FROM s.allocated_at)) DESC, i.id
                   LIMIT 1";
        let row = self.0.query_opt(sql, &[&region]).await;
        let row = row.with_context(|| format!("find the busiest instance of {region}"))?;
        Ok(row.map(|row| (row.get(0), row.get(1))))
    }

    /// The status of an instance; `None` when its row is gone.
    pub(super) async fn instance_status(&self, id: &str) -> Result<Option<String>> {
        let sql = "SELECT status FROM instances WHERE id = $1";
        let row = self.0.query_opt(sql, &[&id]).await;
        let row = row.with_context(|| format!("read the status of {id}"))?;
        Ok(row.map(|row| row.get(0)))
    }
}
