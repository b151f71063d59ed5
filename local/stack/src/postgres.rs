//! The stack's own PostgreSQL server, with the project's schema.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::{Uid, User};
use tokio_postgres::{Client, NoTls};

use crate::dir::StackDir;
use crate::ports::ReservedPort;
use crate::process::{Process, Program};
use crate::{migrations, project};

/// The database with the project's schema.
const DATABASE: &str = "scaling";

/// The user who owns everything in the cluster.
const OWNER: &str = "scaling";

const INIT_TIMEOUT: Duration = Duration::from_secs(60);
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Tests connect hundreds of users at the same time.
const MAX_CONNECTIONS: u16 = 400;

/// Where Debian and its derivatives install the server's programs, by version. They are not on the
/// search path.
const DEBIAN_VERSIONS: &str = "/usr/lib/postgresql";

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    port: u16,
}

impl Postgres {
    /// Starts the server on `port`, creates its cluster if there is none, and applies the pending
    /// migrations of `hasura/`.
    ///
    /// A cluster that was not shut down is recovered by PostgreSQL itself.
    ///
    /// # Errors
    /// When PostgreSQL's programs are not installed, when root runs this and there is no other user
    /// to run the server as, or when a migration fails: the error names that migration.
    pub async fn start(dir: &StackDir, port: ReservedPort) -> Result<Self> {
        let programs = programs()?;
        let user = server_user()?;
        let data = dir.data("postgres");
        if !data.exists() {
            init(dir, &programs, &data, user.as_ref()).await?;
        }
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
        // The data need not survive a crash of the machine.
        .args(["-c", "fsync=off"])
        .args(["-c", "synchronous_commit=off"])
        .args(["-c", "full_page_writes=off"])
        // SIGINT closes sessions instead of waiting for them.
        .stop_signal(Signal::SIGINT)
        .start(dir)?;
        let postgres = Self { process, port };
        let maintenance = postgres.url_of("postgres");
        postgres
            .process
            .ready(START_TIMEOUT, async || connect(&maintenance).await.is_ok())
            .await?;
        postgres.ensure_database().await?;
        migrations::apply(
            &mut postgres.connect(DATABASE).await?,
            &project::root().join("hasura/migrations/default"),
        )
        .await?;
        Ok(postgres)
    }

    /// The URL of the database with the project's schema.
    pub fn url(&self) -> String {
        self.url_of(DATABASE)
    }

    /// The URL of another database of the cluster.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://{OWNER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Creates an empty database with the project's schema and returns its URL. `name` must be a
    /// plain identifier.
    ///
    /// # Errors
    /// When the name is taken, or when somebody is connected to the database with the project's
    /// schema, which is copied.
    pub async fn create_copy(&self, name: &str) -> Result<String> {
        self.connect("postgres")
            .await?
            .batch_execute(&format!(r#"CREATE DATABASE "{name}" TEMPLATE {DATABASE}"#))
            .await
            .with_context(|| format!("create the database {name}"))?;
        Ok(self.url_of(name))
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn stop(&mut self) {
        self.process.stop();
    }

    async fn connect(&self, database: &str) -> Result<Client> {
        connect(&self.url_of(database)).await
    }

    async fn ensure_database(&self) -> Result<()> {
        let client = self.connect("postgres").await?;
        let found = client
            .query_opt("SELECT FROM pg_database WHERE datname = $1", &[&DATABASE])
            .await?;
        if found.is_none() {
            client
                .batch_execute(&format!("CREATE DATABASE {DATABASE}"))
                .await?;
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
    as_user(Program::new("initdb", programs.join("initdb")), user)
        .arg("-D")
        .arg(&unfinished)
        .args(["--username", OWNER, "--encoding", "UTF8"])
        .args(["--locale", "C.UTF-8", "--no-sync"])
        // Only this machine can connect, and the data is not real.
        .args(["--auth", "trust"])
        .run(dir, INIT_TIMEOUT)
        .await
        .context("create the database cluster")?;
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
