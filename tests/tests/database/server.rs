//! The PostgreSQL server: what survives a stop, a kill and a restart.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use local_stack::ports::Ports;
use local_stack::postgres::Postgres;
use local_stack::project;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scaling_tests::database::{Database, free_dir, server};
use tokio_postgres::NoTls;

async fn count(postgres: &Postgres, query: &str) -> Result<i64> {
    let (client, connection) = tokio_postgres::connect(&postgres.url(), NoTls).await?;
    tokio::spawn(connection);
    Ok(client.query_one(query, &[]).await?.get(0))
}

#[tokio::test]
async fn cluster_survives_a_stop_and_a_kill() -> Result<()> {
    let dir = free_dir()?;
    let start = async || Postgres::start(&dir, Ports::free().reserve("postgres")?).await;
    let migrations = "SELECT count(*) FROM local_stack.migrations";
    let kept = "SELECT count(*) FROM app_versions";

    let mut postgres = start().await?;
    let bounded = "SELECT count(*) FROM pg_settings WHERE setting <> '0' AND name IN
        ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout')";
    assert_eq!(count(&postgres, bounded).await?, 3);
    let applied = count(&postgres, migrations).await?;
    assert!(applied > 0);
    count(
        &postgres,
        "WITH i AS (INSERT INTO app_versions VALUES ('dev', '1', 'sha') RETURNING 1)
                      SELECT count(*) FROM i",
    )
    .await?;
    postgres.stop();

    let postgres = start().await?;
    assert_eq!(
        count(&postgres, migrations).await?,
        applied,
        "each migration once"
    );
    assert_eq!(count(&postgres, kept).await?, 1);
    let pid = Pid::from_raw(i32::try_from(postgres.process().pid())?);
    kill(pid, Signal::SIGKILL)?;
    postgres.process().ended().await;

    let postgres = start().await?;
    assert_eq!(count(&postgres, migrations).await?, applied);
    assert_eq!(count(&postgres, kept).await?, 1);
    Ok(())
}

/// Every user of the machine can reach the port.
#[tokio::test]
async fn nobody_connects_without_the_password() -> Result<()> {
    let database = Database::empty().await?;
    let (_, address) = database.url().split_once('@').context("a password")?;
    for login in [
        "scaling",
        "postgres",
        "root",
        "scaling:guess",
        "postgres:guess",
    ] {
        let url = format!("postgres://{login}@{address}");
        let refused = tokio_postgres::connect(&url, NoTls).await.err();
        ensure!(refused.is_some(), "{login} connects");
    }
    database.connect().await?;
    Ok(())
}

#[tokio::test]
async fn schema_belongs_to_a_user_who_may_do_nothing_else() -> Result<()> {
    let session = Database::empty().await?.connect().await?;
    let may = "SELECT FROM pg_roles WHERE rolname = current_user
        AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)";
    assert_eq!(session.count(may).await?, 0);
    let schemas = "('public'::regnamespace, 'internal'::regnamespace)";
    let owned = format!(
        "SELECT FROM (
            SELECT proowner AS owner FROM pg_proc WHERE pronamespace IN {schemas}
            UNION ALL SELECT relowner FROM pg_class WHERE relnamespace IN {schemas}
         ) o WHERE o.owner <> (SELECT oid FROM pg_roles WHERE rolname = current_user)"
    );
    assert_eq!(session.count(&owned).await?, 0);
    Ok(())
}

#[tokio::test]
async fn nobody_else_reads_the_files_of_a_server() -> Result<()> {
    let folder = server().await?.dir.path();
    let mut private = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // It has the id of a process.
        if entry.file_name() == "lock" {
            continue;
        }
        let mode = entry.metadata()?.permissions().mode();
        ensure!(mode & 0o077 == 0, "{}: {mode:o}", entry.path().display());
        private.insert(entry.file_name().to_string_lossy().into_owned());
    }
    let expected = [
        "home",
        "logs",
        "postgres",
        "postgres-passwords",
        "run",
        "tmp",
    ];
    assert_eq!(private, expected.map(str::to_owned).into());
    Ok(())
}

#[tokio::test]
async fn every_migration_can_be_undone() -> Result<()> {
    let session = Database::empty().await?.connect().await?;
    let mut folders: Vec<_> = fs::read_dir(project::root().join("hasura/migrations/default"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    folders.sort();
    for folder in folders.iter().rev() {
        session
            .run(&fs::read_to_string(folder.join("down.sql"))?)
            .await?;
    }
    let left = "SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace
                UNION ALL SELECT oid FROM pg_proc WHERE pronamespace = 'public'::regnamespace
                UNION ALL SELECT oid FROM pg_namespace WHERE nspname = 'internal'";
    assert_eq!(session.count(left).await?, 0);
    Ok(())
}
