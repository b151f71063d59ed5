//! What really became of every session, from the database: see `witness.sql`.

use anyhow::{Context as _, Result};
use tokio_postgres::{Client, NoTls, Row};

/// Notes in the table `demo.sessions` what becomes of each session.
pub const WITNESS: &str = include_str!("witness.sql");

#[derive(Debug)]
pub(super) struct Witness(Client);

/// A session that the database knows of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) slot: String,
    pub(super) user: String,
    pub(super) instance: String,
    pub(super) client_sha: String,
    /// How it ended; none while it lasts.
    pub(super) ended: Option<String>,
}

impl Session {
    /// Its machine went, and it was not over.
    pub(super) fn was_cut_off(&self) -> bool {
        self.ended.as_deref() == Some("cut off")
    }
}

impl Witness {
    /// Notes what happens from now on.
    pub(super) async fn begin(database_url: &str) -> Result<Self> {
        let (client, connection) = tokio_postgres::connect(database_url, NoTls)
            .await
            .context("connect to PostgreSQL")?;
        // An error of the connection is also the client's, which is where it is seen.
        tokio::spawn(connection);
        let script = client.batch_execute(WITNESS).await;
        script.context("prepare to note sessions")?;
        Ok(Self(client))
    }

    /// All sessions so far.
    pub(super) async fn sessions(&self) -> Result<Vec<Session>> {
        let sql = "SELECT slot_id::text, user_id, instance_id, client_sha, ended
                   FROM demo.sessions";
        let rows = self.0.query(sql, &[]).await.context("read the sessions")?;
        let session = |row: &Row| Session {
            slot: row.get(0),
            user: row.get(1),
            instance: row.get(2),
            client_sha: row.get(3),
            ended: row.get(4),
        };
        Ok(rows.iter().map(session).collect())
    }

    /// Those that were or are on one instance.
    pub(super) async fn sessions_on(&self, instance: &str) -> Result<Vec<Session>> {
        let mut sessions = self.sessions().await?;
        sessions.retain(|session| session.instance == instance);
        Ok(sessions)
    }

    /// The active instance of a region with the most running sessions, the youngest if there are
    /// several, and how many.
    pub(super) async fn busiest(&self, region: &str) -> Result<Option<(String, i64)>> {
        let sql = "SELECT i.id, count(*) FROM instances i JOIN slots s ON s.instance_id = i.id
                   WHERE i.region = $1 AND i.status = 'ACTIVE' AND s.status = 'RUNNING'
                   GROUP BY i.id
                   ORDER BY count(*) DESC, avg(extract(epoch FROM s.allocated_at)) DESC, i.id
                   LIMIT 1";
        let row = self.0.query_opt(sql, &[&region]).await;
        let row = row.context("look for a busy instance")?;
        Ok(row.map(|row| (row.get(0), row.get(1))))
    }

    /// None once the instance's row is gone.
    pub(super) async fn instance_status(&self, id: &str) -> Result<Option<String>> {
        let sql = "SELECT status FROM instances WHERE id = $1";
        let row = self.0.query_opt(sql, &[&id]).await;
        let row = row.with_context(|| format!("look at {id}"))?;
        Ok(row.map(|row| row.get(0)))
    }
}
