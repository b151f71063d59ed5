//! The metadata in the database, where Hasura stores its own. The service reads it there, because the
//! metadata API needs the admin secret.

use anyhow::{Context, Result};
use serde_json::Value;
use sqlx::{Connection, Executor, PgConnection};

/// Hasura's tables, as far as they are read. The versions of migrations are those that the local stack has
/// applied, in the form in which Hasura's command line stores its own.
const TABLES: &str = "
    CREATE SCHEMA IF NOT EXISTS hdb_catalog;
    CREATE TABLE IF NOT EXISTS hdb_catalog.hdb_metadata (
        id integer PRIMARY KEY,
        metadata json NOT NULL,
        resource_version integer NOT NULL DEFAULT 1 UNIQUE
    );
    CREATE OR REPLACE VIEW hdb_catalog.hdb_version AS
        SELECT jsonb_build_object('migrations', jsonb_build_object('default', (
            SELECT coalesce(jsonb_object_agg(m.version, false), '{}')
            FROM local_stack.migrations m))) AS cli_state";

const STORE: &str = "
    INSERT INTO hdb_catalog.hdb_metadata (id, metadata) VALUES (1, $1::json)
    ON CONFLICT (id) DO UPDATE
    SET metadata = excluded.metadata, resource_version = hdb_metadata.resource_version + 1";

/// Replaces the stored metadata.
///
/// # Errors
///
/// When the database is unreachable, or its user may not create Hasura's tables.
pub(crate) async fn store(database_url: &str, metadata: &Value) -> Result<()> {
    let mut connection = PgConnection::connect(database_url)
        .await
        .context("cannot connect to DATABASE_URL")?;
    // Engines of one database may start at the same time.
    let mut transaction = connection.begin().await?;
    transaction
        .execute("SELECT pg_advisory_xact_lock(hashtext('hdb_catalog'))")
        .await?;
    transaction.execute(TABLES).await?;
    sqlx::query(STORE)
        .bind(metadata)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    connection.close().await?;
    Ok(())
}
