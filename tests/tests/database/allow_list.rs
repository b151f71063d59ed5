//! The allow list: what roles may send is what the functions and the host agents send.

use std::fs;

use anyhow::Result;
use local_stack::project;
use scaling_tests::database::{Database, Session};
use scaling_tests::graphql::{ADMIN_SECRET, Engine, JWT_KEY, agent_claims, error_code, sign};
use serde_json::{Value, json};
use shared::function_token::FunctionRole;

async fn one_host() -> Result<(Database, Session, Engine)> {
    let (database, session) = Database::with_region(0).await?;
    session.host("i-1", 2).await?;
    let engine = Engine::with_allow_list(&database).await?;
    Ok((database, session, engine))
}

fn agents_document() -> Result<String> {
    let file = project::root().join("local/host-agent/src/graphql/agent.graphql");
    Ok(fs::read_to_string(file)?)
}

async fn ask(engine: &Engine, token: &str, body: &Value) -> Result<Value> {
    let request = reqwest::Client::new().post(format!("{}/v1/graphql", engine.url()));
    let request = request.bearer_auth(token).json(body);
    Ok(request.send().await?.json().await?)
}

fn message(answer: &Value) -> &str {
    answer["errors"][0]["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn agent_sends_its_document_and_nothing_else() -> Result<()> {
    let (_database, _session, engine) = one_host().await?;
    let token = sign(&agent_claims("i-1", 4_102_444_800), JWT_KEY)?;
    let beat = json!({
        "query": agents_document()?, "operationName": "Heartbeat",
        "variables": {"instance_id": "i-1"},
    });
    let answer = ask(&engine, &token, &beat).await?;
    assert_eq!(answer["data"]["heartbeat"][0]["outcome"], "OK", "{answer}");

    // One of its operations alone, as docs/host-agent.md shows it.
    let document = agents_document()?;
    let begin = document.find("mutation Heartbeat").unwrap_or_default();
    let end = document[begin..].find("\n}").unwrap_or_default() + 2;
    let alone = &document[begin..begin + end];
    let alone = json!({"query": alone, "variables": {"instance_id": "i-1"}});
    let answer = ask(&engine, &token, &alone).await?;
    assert_eq!(answer["data"]["heartbeat"][0]["outcome"], "OK", "{answer}");

    let deep = format!(
        "{{ slots {}id{} }}",
        "{ instance { slots ".repeat(10),
        "} }".repeat(10)
    );
    let aliases: String = (0..500).map(|n| format!("a{n}: slots {{ id }} ")).collect();
    let heartbeat = "mutation { heartbeat(args: {instance_id: \"i-1\"}) { outcome } }";
    let and_more = format!("{}\nquery More {{ slots {{ id }} }}", agents_document()?);
    for query in [
        "{ instances { slots { id instance { slots { id } } } } }",
        &deep,
        &format!("{{ {aliases} }}"),
        "{ __schema { types { name } } }",
        "query NotInTheAllowList { __typename }",
        heartbeat,
        &and_more,
    ] {
        let answer = ask(&engine, &token, &json!({"query": query})).await?;
        assert_eq!(error_code(&answer), "validation-failed", "{answer}");
        assert_eq!(message(&answer), "query is not allowed", "{answer}");
        assert_eq!(answer["errors"][0]["extensions"].get("internal"), None);
    }
    // More than one request in a body, or two documents.
    for body in [
        json!([beat, {"query": "{ slots { id } }"}]),
        json!({"query": "{ slots { id } ", "operationName": "Heartbeat"}),
        json!({"operationName": "Heartbeat"}),
    ] {
        let answer = ask(&engine, &token, &body).await?;
        assert_eq!(error_code(&answer), "validation-failed", "{body}: {answer}");
        assert_eq!(answer.get("data"), None, "{answer}");
    }
    Ok(())
}

#[tokio::test]
async fn document_may_have_another_layout_and_type_names() -> Result<()> {
    let (_database, _session, engine) = one_host().await?;
    let document = agents_document()?.replace("    outcome\n", "outcome __typename\n\n");
    let token = sign(&agent_claims("i-1", 4_102_444_800), JWT_KEY)?;
    let beat = json!({
        "query": document, "operationName": "Heartbeat", "variables": {"instance_id": "i-1"},
    });
    let answer = ask(&engine, &token, &beat).await?;
    assert_eq!(answer["data"]["heartbeat"][0]["outcome"], "OK", "{answer}");
    Ok(())
}

#[tokio::test]
async fn list_holds_for_every_role_but_the_administrators() -> Result<()> {
    let (_database, _session, engine) = one_host().await?;
    let query = "{ regions { name } }";
    for role in FunctionRole::ALL {
        let answer = engine.function(role, &json!({"query": query})).await?;
        assert_eq!(
            message(&answer),
            "query is not allowed",
            "{role:?}: {answer}"
        );
    }
    for role in ["host_agent", "passes", "somebody"] {
        let answer = engine.as_role(role, query).await?;
        assert_eq!(message(&answer), "query is not allowed", "{role}: {answer}");
    }
    let answer = engine.admin(query).await?;
    assert_eq!(
        answer["data"]["regions"][0]["name"], "us-east-1",
        "{answer}"
    );
    Ok(())
}

#[tokio::test]
async fn caller_is_verified_before_the_document() -> Result<()> {
    let (_database, _session, engine) = one_host().await?;
    let query = "{ regions { name } }";
    let expired = sign(&agent_claims("i-1", 1), JWT_KEY)?;
    let answer = engine.bearer(&expired, query).await?;
    assert_eq!(error_code(&answer), "invalid-jwt", "{answer}");
    assert_eq!(error_code(&engine.anonymous(query).await?), "access-denied");
    Ok(())
}

#[tokio::test]
async fn body_is_bounded() -> Result<()> {
    let (_database, _session, engine) = one_host().await?;
    let request = reqwest::Client::new().post(format!("{}/v1/graphql", engine.url()));
    let request = request.header("x-hasura-admin-secret", ADMIN_SECRET);
    let body = json!({"query": "{ __typename }", "variables": {"x": "x".repeat(9 << 20)}});
    assert_eq!(request.json(&body).send().await?.status(), 413);
    Ok(())
}
