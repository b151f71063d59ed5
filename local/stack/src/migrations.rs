//! Applies the Hasura project's migrations as the Hasura CLI does: in order, each once, each in one
//! transaction with the row that records it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tokio_postgres::Client;

/// The records are in a schema of their own, which GraphQL does not expose.
const CREATE_RECORDS: &str = "
    CREATE SCHEMA IF NOT EXISTS local_stack;
    CREATE TABLE IF NOT EXISTS local_stack.migrations (
        version bigint PRIMARY KEY,
        name text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )";

/// A folder `VERSION_NAME` with an `up.sql`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Migration {
    version: i64,
    name: String,
    path: PathBuf,
}

/// Applies the migrations in `folder` that are not applied yet.
///
/// # Errors
/// When a migration fails: the error names it. Its transaction is rolled back; the migrations
/// before it stay applied.
pub(crate) async fn apply(client: &mut Client, folder: &Path) -> Result<()> {
    client
        .batch_execute(CREATE_RECORDS)
        .await
        .context("create the table of applied migrations")?;
    for migration in find(folder)? {
        let up = migration.path.join("up.sql");
        let sql = fs::read_to_string(&up).with_context(|| format!("read {}", up.display()))?;
        let transaction = client.transaction().await?;
        let recorded = transaction
            .execute(
                "INSERT INTO local_stack.migrations (version, name) VALUES ($1, $2)
                 ON CONFLICT DO NOTHING",
                &[&migration.version, &migration.name],
            )
            .await?;
        if recorded == 1 {
            transaction
                .batch_execute(&sql)
                .await
                .with_context(|| format!("apply {}", up.display()))?;
        }
        transaction.commit().await?;
    }
    Ok(())
}

fn find(folder: &Path) -> Result<Vec<Migration>> {
    let mut migrations = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (version, name) = name
            .split_once('_')
            .and_then(|(version, name)| Some((version.parse().ok()?, name.to_owned())))
            .with_context(|| {
                format!(
                    "{}: name the migration's folder VERSION_NAME, where VERSION is a number",
                    path.display()
                )
            })?;
        migrations.push(Migration {
            version,
            name,
            path,
        });
    }
    migrations.sort();
    let distinct = migrations
        .windows(2)
        .all(|pair| pair[0].version != pair[1].version);
    ensure!(
        distinct,
        "{}: two migrations have the same version: renumber one of them",
        folder.display()
    );
    Ok(migrations)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        folder
    }

    #[test]
    fn migrations_are_sorted_by_numeric_version() {
        let folder = folder(&["10_c", "9_b_and_more", "1_a"]);
        let names: Vec<_> = find(folder.path())
            .unwrap()
            .into_iter()
            .map(|migration| migration.name)
            .collect();
        assert_eq!(names, ["a", "b_and_more", "c"]);
    }

    #[test]
    fn missing_or_repeated_version_is_rejected() {
        for names in [&["tables"][..], &["x_tables"], &["1_a", "1_b"]] {
            let folder = folder(names);
            assert!(find(folder.path()).is_err(), "{names:?}");
        }
    }
}
