//! The GraphQL schema that queries are checked against at compile time.

use std::fs;

use anyhow::{Result, ensure};
use local_stack::{graphql, project};
use scaling_tests::database::Database;
use scaling_tests::graphql::{ADMIN_SECRET, Engine};
use tokio::task::spawn_blocking;

#[tokio::test]
async fn the_schema_file_is_what_the_engine_serves() -> Result<()> {
    let database = Database::empty().await?;
    let engine = Engine::start(&database).await?;
    let url = engine.url().to_owned();
    let output = spawn_blocking(move || {
        std::process::Command::new(graphql::program()?)
            .args(["schema", "--url", &url])
            .env("HASURA_GRAPHQL_ADMIN_SECRET", ADMIN_SECRET)
            .output()
            .map_err(anyhow::Error::from)
    })
    .await??;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let served = String::from_utf8(output.stdout)?;
    let file = fs::read_to_string(project::root().join("hasura/schema.graphql"))?;
    let different = served.lines().zip(file.lines()).find(|(served, file)| served != file);
    ensure!(
        served == file,
        "hasura/schema.graphql is not what the engine serves (first difference: {different:?}): \
         write it anew with `local-graphql schema`"
    );
    Ok(())
}
