//! The PostgreSQL server: what survives a stop, a kill and a restart.

use std::fs;

use anyhow::Result;
use local_stack::ports::Ports;
use local_stack::postgres::Postgres;
use local_stack::project;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scaling_tests::database::{Database, free_dir};
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
