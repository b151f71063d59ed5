//! What keeps the database usable: the version that is required, and the script that deletes events.

use std::fs;

use anyhow::Result;
use local_stack::project;
use scaling_tests::database::{Database, Session};

#[tokio::test]
async fn postgresql_before_14_is_refused_by_the_first_migration() -> Result<()> {
    let session = Database::empty().await?.connect().await?;
    let path = "hasura/migrations/default/1795284900000_tables/up.sql";
    let migration = fs::read_to_string(project::root().join(path))?;
    // Settings as an older server has them.
    session
        .run(
            "CREATE SCHEMA older;
             CREATE FUNCTION older.current_setting(name text) RETURNS text LANGUAGE sql
                 AS $$ SELECT CASE name WHEN 'server_version_num' THEN '130012' ELSE '13.12' END $$;
             SET search_path = older, pg_catalog, public",
        )
        .await?;
    let error = format!("{:?}", session.run(&migration).await.unwrap_err());
    for part in ["PostgreSQL 13.12 is too old", "version 14 or newer"] {
        assert!(error.contains(part), "{error}");
    }
    Ok(())
}

/// Hasura's tables, as far as the script reads them.
const HASURAS_TABLES: &str = "
    CREATE SCHEMA hdb_catalog;
    CREATE TABLE hdb_catalog.event_log (
        id text PRIMARY KEY,
        delivered boolean NOT NULL DEFAULT false,
        error boolean NOT NULL DEFAULT false,
        created_at timestamp DEFAULT now()
    );
    CREATE TABLE hdb_catalog.event_invocation_logs (id text PRIMARY KEY, event_id text)";

async fn clean_up(session: &Session) -> Result<()> {
    let script = project::root().join("hasura/maintenance/delete_old_events.sql");
    session.run(&fs::read_to_string(script)?).await
}

async fn ids(session: &Session, table: &str) -> Result<Vec<String>> {
    let rows = session
        .rows(&format!("SELECT id FROM hdb_catalog.{table} ORDER BY id"))
        .await?;
    Ok(rows
        .iter()
        .map(|row| scaling_tests::database::text(row, "id"))
        .collect())
}

#[tokio::test]
async fn old_events_are_deleted_with_their_requests_and_pending_ones_are_kept() -> Result<()> {
    let database = Database::empty().await?;
    let session = database.connect().await?;
    session.run(HASURAS_TABLES).await?;
    session
        .run(
            "INSERT INTO hdb_catalog.event_log (id, delivered, error, created_at) VALUES
                 ('delivered', true, false, now() - interval '8 days'),
                 ('failed', false, true, now() - interval '8 days'),
                 ('locked', true, false, now() - interval '8 days'),
                 ('pending', false, false, now() - interval '8 days'),
                 ('young', true, false, now() - interval '6 days');
             INSERT INTO hdb_catalog.event_invocation_logs
                 SELECT id || n, id FROM hdb_catalog.event_log, generate_series(1, 2) n",
        )
        .await?;
    let other = database.connect().await?;
    other
        .run("BEGIN; SELECT FROM hdb_catalog.event_log WHERE id = 'locked' FOR UPDATE")
        .await?;
    clean_up(&session).await?;
    assert_eq!(
        ids(&session, "event_log").await?,
        ["locked", "pending", "young"]
    );
    let requests = ids(&session, "event_invocation_logs").await?;
    let kept = [
        "locked1", "locked2", "pending1", "pending2", "young1", "young2",
    ];
    assert_eq!(requests, kept);
    other.run("COMMIT").await?;
    clean_up(&session).await?;
    assert_eq!(ids(&session, "event_log").await?, ["pending", "young"]);
    Ok(())
}

#[tokio::test]
async fn one_run_deletes_a_bounded_number_of_events() -> Result<()> {
    let session = Database::empty().await?.connect().await?;
    session.run(HASURAS_TABLES).await?;
    session
        .run(
            "INSERT INTO hdb_catalog.event_log (id, delivered, created_at)
             SELECT n, true, now() - interval '8 days' FROM generate_series(1, 10005) n",
        )
        .await?;
    clean_up(&session).await?;
    let left = "SELECT FROM hdb_catalog.event_log";
    assert_eq!(session.count(left).await?, 5);
    clean_up(&session).await?;
    assert_eq!(session.count(left).await?, 0);
    Ok(())
}
