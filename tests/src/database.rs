//! A real PostgreSQL server with the project's schema: one server for each test program, one
//! database for each test.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use local_stack::dir::StackDir;
use local_stack::ports::Ports;
use local_stack::postgres::Postgres;
use local_stack::project;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};
use tokio_postgres::{Client, NoTls};

/// The rows that fixtures write.
pub const REGION: &str = "us-east-1";
pub const IMAGE: &str = "ami-1";
pub const SHA: &str = "3b1f";
pub const ENVIRONMENT: &str = "dev";
/// EC2's address of every instance.
pub const PRIVATE_IP: &str = "10.0.0.1";
/// The lock version under which fixtures write.
pub const VERSION: i64 = 1;

/// How many test programs may run a server at the same time.
const MOST_SERVERS: u32 = 8;

/// The server and the folder of one test program.
#[derive(Debug)]
pub struct Server {
    pub dir: StackDir,
    postgres: Mutex<Postgres>,
}

/// Never dropped: the server ends with this process.
static SERVER: OnceCell<Server> = OnceCell::const_new();

/// The test program's server, started by the first caller.
pub async fn server() -> Result<&'static Server> {
    let start = || async {
        let dir = free_dir()?;
        let postgres = Postgres::start(&dir, Ports::free().reserve("postgres")?).await?;
        Ok(Server {
            dir,
            postgres: Mutex::new(postgres),
        })
    };
    SERVER.get_or_try_init(start).await
}

/// A folder that no other test program holds: several may run at the same time.
pub fn free_dir() -> Result<StackDir> {
    let folders =
        (1..=MOST_SERVERS).map(|number| project::local().join(format!("tests/database-{number}")));
    let mut refusal = None;
    for folder in folders {
        match StackDir::claim(&folder) {
            Ok(dir) => return Ok(dir),
            Err(error) => refusal = Some(error),
        }
    }
    Err(refusal.context("no folder for a database")?)
}

/// The database of one test.
#[derive(Debug)]
pub struct Database {
    url: String,
}

impl Database {
    /// A database with the project's schema and no rows.
    pub async fn empty() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let url = server()
            .await?
            .postgres
            .lock()
            .await
            .create_copy(&name)
            .await?;
        Ok(Self { url })
    }

    /// A database with one region that serves one image, and no instances.
    pub async fn with_region(target_free: i32) -> Result<(Self, Session)> {
        let database = Self::empty().await?;
        let session = database.connect().await?;
        session.add_region(REGION, target_free).await?;
        session
            .run(&format!(
                "INSERT INTO app_versions VALUES ('{ENVIRONMENT}', '1.2.3', '{SHA}')"
            ))
            .await?;
        Ok((database, session))
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub async fn connect(&self) -> Result<Session> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await?;
        // An error of the connection also reaches the client, where it is handled.
        tokio::spawn(connection);
        Ok(Session { client })
    }

    /// Opens one session for each of `count` users.
    pub async fn sessions(&self, count: usize) -> Result<Vec<Session>> {
        let mut sessions = Vec::with_capacity(count);
        for _ in 0..count {
            sessions.push(self.connect().await?);
        }
        Ok(sessions)
    }
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    client: Client,
}

impl Session {
    /// Records that passes observed the region for an hour without a gap.
    pub async fn set_watched_for_an_hour(&self) -> Result<()> {
        self.run(&format!(
            "INSERT INTO region_fences (region, version, last_pass_at, watched_since)
             VALUES ('{REGION}', {VERSION}, now(), now() - interval '1 hour')
             ON CONFLICT (region) DO UPDATE
             SET last_pass_at = excluded.last_pass_at, watched_since = excluded.watched_since"
        ))
        .await
    }

    /// Runs statements.
    pub async fn run(&self, sql: &str) -> Result<()> {
        self.client
            .batch_execute(sql)
            .await
            .with_context(|| sql.to_owned())
    }

    /// The rows of a query, each as a JSON object.
    pub async fn rows(&self, sql: &str) -> Result<Vec<Value>> {
        let rows = self
            .client
            .query(&format!("SELECT to_jsonb(q) FROM ({sql}) q"), &[])
            .await
            .with_context(|| sql.to_owned())?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The only row of a query.
    pub async fn row(&self, sql: &str) -> Result<Value> {
        let mut rows = self.rows(sql).await?;
        ensure!(rows.len() == 1, "{} rows, not one: {sql}", rows.len());
        Ok(rows.remove(0))
    }

    /// The number of rows that a query returns.
    pub async fn count(&self, sql: &str) -> Result<i64> {
        let row = self
            .client
            .query_one(&format!("SELECT count(*) FROM ({sql}) q"), &[])
            .await
            .with_context(|| sql.to_owned())?;
        Ok(row.get(0))
    }

    /// Waits until another session of this database waits for a lock.
    ///
    /// # Errors
    /// When none does within a minute.
    pub async fn wait_for_a_blocked_session(&self) -> Result<()> {
        let waiting = "SELECT FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let observe = async {
            while self.count(waiting).await? == 0 {
                tokio::task::yield_now().await;
            }
            Ok(())
        };
        tokio::time::timeout(Duration::from_secs(60), observe)
            .await
            .context("no session waits for a lock")?
    }

    /// From now on, functions of this database wait for locks for as long as a busy machine needs
    /// to release them. Their own times are less than a second.
    ///
    /// # Errors
    /// When PostgreSQL refuses it.
    pub async fn wait_for_locks(&self) -> Result<()> {
        let longer = "DO $$ DECLARE f regprocedure; BEGIN
            FOR f IN SELECT oid FROM pg_proc
                WHERE EXISTS (SELECT FROM unnest(proconfig) c WHERE c LIKE 'lock_timeout=%')
            LOOP EXECUTE format('ALTER FUNCTION %s SET lock_timeout = ''1min''', f); END LOOP;
        END $$";
        self.run(longer).await
    }

    /// The name of the constraint that rejects the statements.
    pub async fn violated(&self, sql: &str) -> Result<String> {
        let error = self.client.batch_execute(sql).await.err();
        error
            .as_ref()
            .and_then(|error| error.as_db_error()?.constraint())
            .map(str::to_owned)
            .with_context(|| format!("no constraint rejected: {sql} ({error:?})"))
    }

    /// `id=outcome` for each row that a function of a pass returns.
    pub async fn outcomes(&self, call: &str) -> Result<Vec<String>> {
        let rows = self.rows(&format!("SELECT * FROM {call}")).await?;
        Ok(rows
            .iter()
            .map(|row| format!("{}={}", text(row, "id"), text(row, "outcome")))
            .collect())
    }

    /// The outcome of a function of the host agent.
    pub async fn outcome(&self, call: &str) -> Result<String> {
        Ok(text(
            &self.row(&format!("SELECT * FROM {call}")).await?,
            "outcome",
        ))
    }

    /// Inserts a region that serves the one image.
    pub async fn add_region(&self, name: &str, target_free: i32) -> Result<()> {
        self.run(&format!(
            "INSERT INTO regions (name, target_free, max_instances, launch_choices)
                 VALUES ('{name}', {target_free}, 1000, '[]');
             INSERT INTO images (region, image_id, client_sha, state)
                 VALUES ('{name}', '{IMAGE}', '{SHA}', 'CURRENT')"
        ))
        .await
    }

    /// Records an instance as a pass does after its launch.
    pub async fn launch(&self, region: &str, id: &str, capacity: i32) -> Result<()> {
        let instances = json!([{
            "id": id, "launch_id": launch_of(id), "image_id": IMAGE, "client_sha": SHA,
            "instance_type": "t3.large", "capacity": capacity, "private_ip": PRIVATE_IP,
            "launched_at": "2020-01-01T00:00:00Z",
        }]);
        let call = format!("record_instances('{region}', {VERSION}, '{instances}')");
        let outcomes = self.outcomes(&call).await?;
        ensure!(outcomes == [format!("{id}=DONE")], "{call}: {outcomes:?}");
        Ok(())
    }

    /// Makes an instance ACTIVE with all of its slots free, as its agent does.
    pub async fn register(&self, id: &str) -> Result<()> {
        let call = format!("register_host('{id}', '', '{}')", claims_of(id));
        let outcome = self.outcome(&call).await?;
        ensure!(outcome == "REGISTERED", "{call}: {outcome}");
        Ok(())
    }

    /// Adds an ACTIVE instance to the first region.
    pub async fn host(&self, id: &str, capacity: i32) -> Result<()> {
        self.launch(REGION, id, capacity).await?;
        self.register(id).await
    }

    /// Requests a slot in the first region with the served hash.
    pub async fn assign(&self, user: &str, session: &str) -> Result<Assigned> {
        self.request_slot(&SlotRequest::new(user, session)).await
    }

    /// Gives a user a slot, whose agent reports that the session runs.
    pub async fn assign_running(&self, user: &str) -> Result<Assigned> {
        let assigned = self.assign(user, "1").await?;
        let (slot, claims) = (assigned.slot(), claims_of(&assigned.instance()));
        for call in [
            format!("claim_slot('{slot}', '{user}', '1', '{claims}')"),
            format!("report_slot('{slot}', 'RUNNING', '{claims}')"),
        ] {
            self.outcome(&call).await?;
        }
        Ok(assigned)
    }

    pub async fn request_slot(&self, request: &SlotRequest) -> Result<Assigned> {
        let row = self
            .row(&format!("SELECT * FROM {}", request.call()))
            .await?;
        Ok(Assigned(row))
    }
}

/// The launch of a fixture's instance.
pub fn launch_of(instance_id: &str) -> String {
    format!("launch-of-{instance_id}")
}

/// The session variables that the engine passes to functions for an instance's agent.
pub fn claims_of(instance_id: &str) -> Value {
    json!({"x-hasura-role": "host_agent", "x-hasura-launch-id": launch_of(instance_id)})
}

/// A request for a slot.
#[derive(Clone, Debug)]
pub struct SlotRequest {
    pub user: String,
    pub session: String,
    pub regions: Vec<String>,
    pub sha: String,
    pub limit: i32,
    pub local_dev: bool,
}

impl SlotRequest {
    pub fn new(user: &str, session: &str) -> Self {
        Self {
            user: user.to_owned(),
            session: session.to_owned(),
            regions: vec![REGION.to_owned()],
            sha: SHA.to_owned(),
            limit: 3,
            local_dev: false,
        }
    }

    fn call(&self) -> String {
        let Self {
            user,
            session,
            sha,
            limit,
            local_dev,
            ..
        } = self;
        let regions = json!(self.regions);
        format!(
            "assign_slot('{user}', '{session}', '{regions}', '{sha}', {limit}, \
             '{ENVIRONMENT}', {local_dev})"
        )
    }
}

/// The answer to a request for a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned(pub Value);

impl Assigned {
    pub fn outcome(&self) -> String {
        text(&self.0, "outcome")
    }

    /// The slot's id, empty if there is none.
    pub fn slot(&self) -> String {
        text(&self.0, "slot_id")
    }

    pub fn instance(&self) -> String {
        text(&self.0, "instance_id")
    }
}

/// A column of a row as text, empty when it is null.
pub fn text(row: &Value, column: &str) -> String {
    row[column].as_str().unwrap_or_default().to_owned()
}
