//! The stack's own PostgreSQL server, with the project's schema.
//!
//! As in a real installation, the schema belongs to a user who may do nothing else: the one whom
//! Hasura connects as. Nobody connects without a password: every user of the machine can reach the port.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::{Uid, User};
use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, NoTls};

use crate::dir::StackDir;
use crate::ports::ReservedPort;
use crate::private_file::{self, random_secret};
use crate::process::{Process, Program};
use crate::{migrations, project};

/// The database with the project's schema.
const DATABASE: &str = "scaling";

/// The user whom everybody connects as, and who owns the database and its schema.
const OWNER: &str = "scaling";

/// Who made the cluster, and makes databases in it.
const SUPERUSER: &str = "postgres";

/// What docs/hasura.md recommends for the user whom Hasura connects as. For the database with the
/// project's schema only, so that tests on copies of it can wait for as long as they like.
const TIMEOUTS: [(&str, &str); 3] = [
    ("statement_timeout", "30s"),
    ("lock_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "60s"),
];

const INIT_TIMEOUT: Duration = Duration::from_secs(60);
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Tests connect hundreds of users at the same time.
const MAX_CONNECTIONS: u16 = 1_000;

/// Where Debian and its derivatives install the server's programs, by version. They are not on the
/// search path.
const DEBIAN_VERSIONS: &str = "/usr/lib/postgresql";

/// Whether the data survives a crash of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing waits for the disk.
    None,
    /// PostgreSQL's defaults, as a real installation has them: a commit waits for the disk.
    Full,
    /// The same, and the flush that a commit waits for takes 2.5 ms more, as on a disk behind a
    /// network: AWS calls the latency of its general purpose volumes "single-digit millisecond"
    /// (whitepaper "Optimizing PostgreSQL Running on Amazon EC2 Using Amazon EBS").
    FullOnNetworkDisk,
}

impl Durability {
    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::None => &[
                "fsync=off",
                "synchronous_commit=off",
                "full_page_writes=off",
            ],
            Self::Full => &[],
            // A commit waits even if it is the only one.
            Self::FullOnNetworkDisk => &["commit_delay=2500", "commit_siblings=0"],
        }
    }
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    port: u16,
    passwords: Passwords,
}

/// How to connect to a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub host: String,
    pub port: u16,
    pub database: String,
    pub user: String,
    pub password: String,
}

impl Login {
    pub fn url(&self) -> String {
        let Self {
            host,
            port,
            database,
            user,
            password,
        } = self;
        format!("postgres://{user}:{password}@{host}:{port}/{database}")
    }
}

/// The passwords of a cluster. They are stored beside it, because it outlives a server.
#[derive(Debug, Deserialize, Serialize)]
struct Passwords {
    superuser: String,
    owner: String,
}

impl Passwords {
    fn file(dir: &StackDir) -> PathBuf {
        dir.data("postgres-passwords")
    }

    fn generate(dir: &StackDir) -> Result<Self> {
        let passwords = Self {
            superuser: random_secret(),
            owner: random_secret(),
        };
        private_file::write(&Self::file(dir), serde_json::to_vec(&passwords)?)?;
        Ok(passwords)
    }

    fn load(dir: &StackDir) -> Result<Self> {
        let file = Self::file(dir);
        let read = || anyhow::Ok(serde_json::from_slice(&fs::read(&file)?)?);
        read().with_context(|| format!("read {}", file.display()))
    }
}

impl Postgres {
    /// Starts a server whose data need not survive a crash of the machine: see [`Self::start_with`].
    ///
    /// # Errors
    /// As those of [`Self::start_with`].
    pub async fn start(dir: &StackDir, port: ReservedPort) -> Result<Self> {
        Self::start_with(dir, port, Durability::None).await
    }

    /// Starts the server on `port`, creates its cluster if there is none, and applies the pending
    /// migrations of `hasura/`.
    ///
    /// A cluster that was not shut down is recovered by PostgreSQL itself.
    ///
    /// # Errors
    /// When PostgreSQL's programs are not installed, when root runs this and there is no other user
    /// to run the server as, or when a migration fails: the error names that migration.
    pub async fn start_with(
        dir: &StackDir,
        port: ReservedPort,
        durability: Durability,
    ) -> Result<Self> {
        let programs = programs()?;
        let user = server_user()?;
        let data = dir.data("postgres");
        if !data.exists() {
            init(dir, &programs, &data, user.as_ref()).await?;
        }
        let passwords = Passwords::load(dir)?;
        let port = port.release();
        let process = as_user(
            Program::new("postgres", programs.join("postgres")),
            user.as_ref(),
        )
        .arg("-D")
        .arg(&data)
        .args(["-c", "listen_addresses=127.0.0.1"])
        .args(["-c", &format!("port={port}")])
        .args(["-c", &format!("max_connections={MAX_CONNECTIONS}")])
        // Not a socket in a folder that other programs share.
        .args(["-c", "unix_socket_directories="])
        .args(durability.settings().iter().flat_map(|it| ["-c", it]))
        // SIGINT closes sessions instead of waiting for them.
        .stop_signal(Signal::SIGINT)
        .start(dir)?;
        let postgres = Self {
            process,
            port,
            passwords,
        };
        let maintenance = postgres.maintenance().url();
        postgres
            .process
            .ready(START_TIMEOUT, async || connect(&maintenance).await.is_ok())
            .await?;
        postgres.ensure_database().await?;
        migrations::apply(
            &mut connect(&postgres.url()).await?,
            &project::root().join("hasura/migrations/default"),
        )
        .await?;
        Ok(postgres)
    }

    /// The URL of the database with the project's schema.
    pub fn url(&self) -> String {
        self.login().url()
    }

    /// How to connect to the database with the project's schema, as Hasura does.
    pub fn login(&self) -> Login {
        self.login_as(OWNER, &self.passwords.owner, DATABASE)
    }

    fn maintenance(&self) -> Login {
        self.login_as(SUPERUSER, &self.passwords.superuser, "postgres")
    }

    fn login_as(&self, user: &str, password: &str, database: &str) -> Login {
        Login {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            database: database.to_owned(),
            user: user.to_owned(),
            password: password.to_owned(),
        }
    }

    /// Creates an empty database with the project's schema and returns its URL. `name` must be a
    /// plain identifier.
    ///
    /// # Errors
    /// When the name is taken, or when somebody is connected to the database with the project's
    /// schema, which is copied.
    pub async fn create_copy(&self, name: &str) -> Result<String> {
        connect(&self.maintenance().url())
            .await?
            .batch_execute(&format!(
                r#"CREATE DATABASE "{name}" TEMPLATE {DATABASE} OWNER {OWNER}"#
            ))
            .await
            .with_context(|| format!("create the database {name}"))?;
        Ok(self.login_as(OWNER, &self.passwords.owner, name).url())
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Creates the database and its owner, unless they are there.
    async fn ensure_database(&self) -> Result<()> {
        let client = connect(&self.maintenance().url()).await?;
        let found = client
            .query_opt("SELECT FROM pg_database WHERE datname = $1", &[&DATABASE])
            .await?;
        if found.is_some() {
            return Ok(());
        }
        // A server that was stopped in between has made the user, and not the database.
        client
            .batch_execute(&format!(
                "DROP ROLE IF EXISTS {OWNER};
                 CREATE ROLE {OWNER} LOGIN PASSWORD '{}'",
                self.passwords.owner
            ))
            .await?;
        // Not in a transaction, which CREATE DATABASE refuses.
        client
            .batch_execute(&format!("CREATE DATABASE {DATABASE} OWNER {OWNER}"))
            .await?;
        for (setting, value) in TIMEOUTS {
            let set =
                format!("ALTER ROLE {OWNER} IN DATABASE {DATABASE} SET {setting} = '{value}'");
            client.batch_execute(&set).await?;
        }
        Ok(())
    }
}

/// Creates the cluster under another name first, so that an incomplete one is never used.
async fn init(dir: &StackDir, programs: &Path, data: &Path, user: Option<&User>) -> Result<()> {
    let unfinished = data.with_extension("new");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::DirBuilder::new().mode(0o700).create(&unfinished)?;
    if let Some(user) = user {
        chown(
            &unfinished,
            Some(user.uid.as_raw()),
            Some(user.gid.as_raw()),
        )?;
    }
    let passwords = Passwords::generate(dir)?;
    let of_superuser = dir.data("postgres-password");
    private_file::write(&of_superuser, &passwords.superuser)?;
    if let Some(user) = user {
        chown(
            &of_superuser,
            Some(user.uid.as_raw()),
            Some(user.gid.as_raw()),
        )?;
    }
    let created = as_user(Program::new("initdb", programs.join("initdb")), user)
        .arg("-D")
        .arg(&unfinished)
        .args(["--username", SUPERUSER, "--encoding", "UTF8"])
        .args(["--locale", "C.UTF-8", "--no-sync"])
        // The server keeps no password in clear. The clients send theirs, over the loopback only: with
        // SCRAM they would hash it thousands of times for each connection, which takes half a second in
        // a program that is not optimized.
        .args(["--auth", "password", "--pwfile"])
        .arg(&of_superuser)
        .run(dir, INIT_TIMEOUT)
        .await;
    fs::remove_file(&of_superuser)?;
    created.context("create the database cluster")?;
    fs::rename(&unfinished, data)?;
    Ok(())
}

/// The user that the server runs as, if not this one: PostgreSQL refuses to run as root.
fn server_user() -> Result<Option<User>> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Some(user) = User::from_name(name)? {
            return Ok(Some(user));
        }
    }
    bail!(
        "PostgreSQL does not run as root, and the users `postgres` and `nobody` do not exist: \
         run this command as an ordinary user"
    )
}

fn as_user(program: Program, user: Option<&User>) -> Program {
    match user {
        Some(user) => program.user(user.uid.as_raw(), user.gid.as_raw()),
        None => program,
    }
}

/// The folder with `initdb` and `postgres`: on the search path, or Debian's folder with the highest
/// version.
fn programs() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN_VERSIONS)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    folders.extend(versions.into_iter().rev().map(|(_, folder)| folder));
    folders
        .into_iter()
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
        .context(
            "the PostgreSQL server is not installed (`initdb` and `postgres` are neither on PATH \
             nor in /usr/lib/postgresql/VERSION/bin): install the package `postgresql`",
        )
}

/// Connects. The connection is closed when the client is dropped.
async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // An error of the connection also reaches the client, where it is handled.
    tokio::spawn(connection);
    Ok(client)
}
