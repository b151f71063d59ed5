//! Assigning against what bounds it, on a server of its own: unlike the stack's, it waits for its disk,
//! because that is a large part of the time.
//!
//! A program in a release build measures; this starts what it needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use local_stack::dir::StackDir;
use local_stack::graphql::{Build, Graphql, GraphqlOptions};
use local_stack::ports::Ports;
use local_stack::postgres::{Durability, Postgres};
use local_stack::project;
use scaling_bench::{Comparison, Section};
use scaling_tests::graphql::{ADMIN_SECRET, JWT_KEY, function_token};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use shared::function_token::FunctionRole;

use crate::fleet;

/// The tables of the seven requests, and what the engine has to know of them.
const SEVEN_TABLES: &str = include_str!("seven_requests.sql");
const SEVEN_NAMES: [&str; 3] = ["seven_images", "seven_instances", "seven_mandelboxes"];

#[derive(Debug, Deserialize)]
pub(crate) struct Floor {
    pub(crate) comparison: Comparison,
    pub(crate) refusals: Comparison,
    pub(crate) checks: Section,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Requests {
    pub(crate) speed: Comparison,
    pub(crate) answers: Comparison,
    pub(crate) cost: Section,
}

/// A server that waits for its disk, with its folder.
#[derive(Debug)]
pub(crate) struct DurableServer {
    // Before the folder: it is stopped first.
    postgres: Postgres,
    dir: StackDir,
}

impl DurableServer {
    pub(crate) async fn start(durability: Durability) -> Result<Self> {
        let dir = StackDir::claim(&project::local().join("bench-durable"))?;
        let port = Ports::free().reserve("postgres")?;
        let postgres = Postgres::start_with(&dir, port, durability).await?;
        Ok(Self { postgres, dir })
    }

    /// `assign_slot` against one update, over connections to PostgreSQL.
    pub(crate) async fn measure_floor(&self) -> Result<Floor> {
        let url = self.postgres.create_copy("floor").await?;
        measure(&["floor", &url])
    }

    /// One request against seven, over a GraphQL engine.
    pub(crate) async fn measure_requests(&self) -> Result<Requests> {
        let url = self.postgres.create_copy("requests").await?;
        fleet::connect(&url)
            .await?
            .batch_execute(SEVEN_TABLES)
            .await
            .context("create the tables of the seven requests")?;
        let mut options = GraphqlOptions::new(&url, ADMIN_SECRET, JWT_KEY);
        options.build = Build::Release;
        options.metadata = metadata_with_seven(&options.metadata, &self.dir)?;
        let port = Ports::free().reserve("graphql")?;
        let engine = Graphql::start(&self.dir, port, &options).await?;
        let address = engine.url().trim_start_matches("http://");
        let process = engine.process().pid().to_string();
        let token = function_token(FunctionRole::Assigner, JWT_KEY)?;
        let token = token.expose_secret();
        measure(&["requests", &url, address, &process, ADMIN_SECRET, token])
    }
}

fn measure<T: DeserializeOwned>(args: &[&str]) -> Result<T> {
    let program = project::root().join("target/release/bench-assign");
    ensure!(
        program.exists(),
        "{} is missing: run `make bench`",
        program.display()
    );
    let output = Command::new(&program)
        .args(args)
        .arg("--json")
        .output()
        .with_context(|| format!("run {}", program.display()))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{} failed: {error}",
        program.display()
    );
    serde_json::from_slice(&output.stdout).context("parse the output of bench-assign")
}

/// A copy of the project's metadata that also tracks the tables of the seven requests. Returns its
/// folder.
fn metadata_with_seven(project: &Path, dir: &StackDir) -> Result<PathBuf> {
    let copy = dir.data("metadata");
    copy_folder(project, &copy)?;
    let tables = copy.join("databases/default/tables");
    let list = tables.join("tables.yaml");
    let mut names = fs::read_to_string(&list).context("read the list of tables")?;
    for name in SEVEN_NAMES {
        let file = format!("public_{name}.yaml");
        names.push_str(&format!("- \"!include {file}\"\n"));
        fs::write(
            tables.join(file),
            format!("table:\n  name: {name}\n  schema: public\n"),
        )?;
    }
    fs::write(&list, names)?;
    Ok(copy)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to).with_context(|| format!("create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
