//! Applies the Hasura project's migrations, as the Hasura CLI does: in order,
//! each once, each in a transaction with the note that it was applied.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tokio_postgres::Client;

/// The notes are in a schema of their own, which GraphQL does not expose.
const PREPARE: &str = "
    CREATE SCHEMA IF NOT EXISTS local_stack;
    CREATE TABLE IF NOT EXISTS local_stack.migrations (
        version bigint PRIMARY KEY,
        name text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )";

/// One folder `VERSION_NAME` with an `up.sql`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Migration {
    version: i64,
    name: String,
    path: PathBuf,
}

/// Applies what is in `folder` and not applied yet.
///
/// # Errors
/// Names the migration that failed; it left nothing behind, and those before it
/// stay applied.
pub(crate) async fn apply(client: &mut Client, folder: &Path) -> Result<()> {
    client
        .batch_execute(PREPARE)
        .await
        .context("prepare for migrations")?;
    for migration in find(folder)? {
        let up = migration.path.join("up.sql");
        let sql = fs::read_to_string(&up).with_context(|| format!("read {}", up.display()))?;
        let transaction = client.transaction().await?;
        let noted = transaction
            .execute(
                "INSERT INTO local_stack.migrations (version, name) VALUES ($1, $2)
                 ON CONFLICT DO NOTHING",
                &[&migration.version, &migration.name],
            )
            .await?;
        if noted == 1 {
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
                    "{}: a migration's folder is called VERSION_NAME",
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
        "{}: two migrations have one version",
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
    fn migrations_are_ordered_by_version_as_a_number() {
        let folder = folder(&["10_c", "9_b_and_more", "1_a"]);
        let names: Vec<_> = find(folder.path())
            .unwrap()
            .into_iter()
            .map(|migration| migration.name)
            .collect();
        assert_eq!(names, ["a", "b_and_more", "c"]);
    }

    #[test]
    fn a_name_without_a_version_or_a_version_twice_is_an_error() {
        for names in [&["tables"][..], &["x_tables"], &["1_a", "1_b"]] {
            let folder = folder(names);
            assert!(find(folder.path()).is_err(), "{names:?}");
        }
    }
}
