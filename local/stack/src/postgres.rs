//! A PostgreSQL server of the stack's own, with the project's schema in it.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::{Uid, User};
use tokio_postgres::{Client, NoTls};

use crate::dir::StackDir;
use crate::ports::Reserved;
use crate::process::{Process, Program};
use crate::{migrations, project};

/// The database that has the project's schema.
const DATABASE: &str = "scaling";

/// The user who owns everything in the cluster.
const OWNER: &str = "scaling";

const INIT_TIME: Duration = Duration::from_secs(60);
const START_TIME: Duration = Duration::from_secs(60);

/// Tests put hundreds of users next to each other.
const MAX_CONNECTIONS: u16 = 400;

/// Where Debian and its like keep the server's programs, by version: they are
/// on no search path.
const DEBIAN_VERSIONS: &str = "/usr/lib/postgresql";

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    port: u16,
}

impl Postgres {
    /// Starts the server on `port`, makes its cluster the first time, and
    /// applies the migrations of `hasura/` that are not applied yet.
    ///
    /// A cluster that was not shut down recovers, as PostgreSQL does it.
    ///
    /// # Errors
    /// Without PostgreSQL's programs, when run by root and no user can be found
    /// to run the server as, and when a migration fails: that one by name.
    pub async fn start(dir: &StackDir, port: Reserved) -> Result<Self> {
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
        // No socket in a folder that others share.
        .args(["-c", "unix_socket_directories="])
        // Nothing here has to outlive the machine.
        .args(["-c", "fsync=off"])
        .args(["-c", "synchronous_commit=off"])
        .args(["-c", "full_page_writes=off"])
        // Ends sessions instead of waiting for them.
        .stop_signal(Signal::SIGINT)
        .start(dir)?;
        let postgres = Self { process, port };
        let maintenance = postgres.url_of("postgres");
        postgres
            .process
            .ready(START_TIME, async || connect(&maintenance).await.is_ok())
            .await?;
        postgres.create_scaling_database().await?;
        migrations::apply(
            &mut postgres.connect(DATABASE).await?,
            &project::root().join("hasura/migrations/default"),
        )
        .await?;
        Ok(postgres)
    }

    /// `DATABASE_URL` of the database with the project's schema.
    pub fn url(&self) -> String {
        self.url_of(DATABASE)
    }

    /// The same for another database of the cluster.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://{OWNER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes a database with the project's schema and nothing in it, and
    /// answers its URL. `name` must be a plain identifier.
    ///
    /// # Errors
    /// When there is one of that name, or somebody is connected to the one with
    /// the project's schema, which is copied.
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

    async fn create_scaling_database(&self) -> Result<()> {
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

/// Makes the cluster aside first: one that is only half made is never used.
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
        // Whoever can connect is on this machine, and the data is made up.
        .args(["--auth", "trust"])
        .run(dir, INIT_TIME)
        .await
        .context("make the database cluster")?;
    fs::rename(&unfinished, data)?;
    Ok(())
}

/// Whom the server runs as: PostgreSQL refuses to run as root.
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
        "PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody`: \
         run this as an ordinary user"
    )
}

fn as_user(program: Program, user: Option<&User>) -> Program {
    match user {
        Some(user) => program.user(user.uid.as_raw(), user.gid.as_raw()),
        None => program,
    }
}

/// The folder with `initdb` and `postgres`: on the search path, or Debian's
/// with the highest version.
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
            "PostgreSQL's server is not installed (`initdb` and `postgres` are neither on PATH nor \
             in /usr/lib/postgresql/VERSION/bin): install the package `postgresql`",
        )
}

/// A client whose connection ends with it.
async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // An error of the connection is also the client's, which is where it is seen.
    tokio::spawn(connection);
    Ok(client)
}
