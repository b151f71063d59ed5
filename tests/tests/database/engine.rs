//! The GraphQL engine does what Hasura does: transactions, errors, schema, connections.

mod errors;
mod transactions;

use anyhow::{Context as _, Result};
use scaling_tests::database::Database;
use scaling_tests::graphql::{ADMIN_SECRET, Engine, error_code};
use scaling_tests::metadata::altered;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn rows_of_a_function_are_ordered_limited_and_filtered_on_request() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    for id in ["i-1", "i-2", "i-3"] {
        session.host(id, 1).await?;
    }
    let engine = Engine::start(&database).await?;
    let query = r#"mutation {
        last: observe_instances(args: {region: "us-east-1", after_id: "", page_size: 10},
            order_by: {id: desc}, limit: 2) { id }
        one: observe_instances(args: {region: "us-east-1", after_id: "", page_size: 10},
            where: {id: {_eq: "i-2"}}) { id }
    }"#;
    let answer = engine.admin(query).await?;
    let expected = json!({"data": {
        "last": [{"id": "i-3"}, {"id": "i-2"}],
        "one": [{"id": "i-2"}],
    }});
    assert_eq!(answer, expected);
    Ok(())
}

#[tokio::test]
async fn mutations_have_no_aggregates_of_functions() -> Result<()> {
    let database = Database::empty().await?;
    let engine = Engine::start(&database).await?;
    let query = r#"{ __type(name: "mutation_root") { name }
        __schema { mutationType { fields { name } } types { name fields { name } } } }"#;
    let schema = engine.admin(query).await?;
    let types = schema["data"]["__schema"]["types"].as_array();
    let root = types
        .into_iter()
        .flatten()
        .find(|declared| declared["name"] == "mutation_root")
        .context("no mutations")?;
    let names = root["fields"].to_string();
    assert!(names.contains("begin_pass"), "{names}");
    assert!(!names.contains("_aggregate"), "{names}");

    let call = r#"mutation { begin_pass_aggregate(args: {region: "us-east-1", version: 1}) {
        aggregate { count } } }"#;
    let answer = engine.admin(call).await?;
    assert_eq!(error_code(&answer), "validation-failed", "{answer}");
    Ok(())
}

#[tokio::test]
async fn idle_connection_is_closed_and_a_busy_one_is_not() -> Result<()> {
    let database = Database::empty().await?;
    let engine = Engine::with(&database, |options| {
        options.keep_alive = std::time::Duration::from_secs(5);
    })
    .await?;
    let address = engine.url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await?;
    let body = json!({"query": "{ regions { name } }"}).to_string();
    let request = format!(
        "POST /v1/graphql HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         x-hasura-admin-secret: {ADMIN_SECRET}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    for _ in 0..2 {
        stream.write_all(request.as_bytes()).await?;
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        let mut rest = vec![0; 4096];
        let read = stream.read(&mut rest).await?;
        assert!(read > 0);
    }
    // Ends because the engine closes the connection.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await?;
    Ok(())
}

/// Without them, Hasura waits for a connection for ever, or runs the functions under another
/// isolation than they are written for.
#[tokio::test]
async fn metadata_without_hasuras_connection_settings_is_refused() -> Result<()> {
    let database = Database::empty().await?;
    for (from, to, named) in [
        ("        pool_timeout: 2\n", "", "pool_timeout"),
        ("pool_timeout", "pool_time_out", "pool_time_out"),
        ("read-committed", "serializable", "read-committed"),
    ] {
        let metadata = altered("databases/databases.yaml", from, to)?;
        let refused = Engine::with_metadata(&database, metadata.path()).await;
        let error = format!("{:?}", refused.err().context(named)?);
        assert!(error.contains(named), "{error}");
    }
    Ok(())
}

/// The first error of an answer.
fn error(answer: &Value) -> &Value {
    &answer["errors"][0]
}
