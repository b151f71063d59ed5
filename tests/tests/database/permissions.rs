//! Roles and permissions in GraphQL.

use anyhow::{Context as _, Result};
use scaling_tests::database::{Database, REGION, Session};
use scaling_tests::graphql::{Engine, JWT_KEY, agent_claims, error_code, sign};
use scaling_tests::metadata::altered;
use serde_json::{Value, json};

/// A region with the instances `i-1` and `i-2`, each of its own launch, and a user on `i-1`.
async fn two_hosts() -> Result<(Database, Session, Engine)> {
    let (database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    session.assign("alice", "1").await?;
    session.host("i-2", 1).await?;
    let engine = Engine::start(&database).await?;
    Ok((database, session, engine))
}

fn rows<'a>(answer: &'a Value, field: &str) -> Result<&'a Vec<Value>> {
    answer["data"][field]
        .as_array()
        .with_context(|| answer.to_string())
}

#[tokio::test]
async fn agent_reads_only_the_rows_of_its_own_launch() -> Result<()> {
    let (_database, session, engine) = two_hosts().await?;
    let query = "{ instances { id launch_id status }
                   slots { instance_id status user_id session_id }
                   heartbeats { instance_id beat_at } }";
    for id in ["i-1", "i-2"] {
        let answer = engine.agent(id, query).await?;
        assert_eq!(rows(&answer, "instances")?.len(), 1);
        assert_eq!(rows(&answer, "instances")?[0]["id"], json!(id));
        assert_eq!(rows(&answer, "slots")?.len(), 1);
        assert_eq!(rows(&answer, "slots")?[0]["instance_id"], json!(id));
        assert_eq!(rows(&answer, "heartbeats")?.len(), 1);
        assert_eq!(rows(&answer, "heartbeats")?[0]["instance_id"], json!(id));
    }
    assert_eq!(
        rows(&engine.agent("i-3", query).await?, "instances")?.len(),
        0
    );
    assert_eq!(session.count("SELECT FROM instances").await?, 2);
    Ok(())
}

#[tokio::test]
async fn agent_cannot_reach_another_launch_indirectly() -> Result<()> {
    let (_database, _session, engine) = two_hosts().await?;
    let by_id = engine
        .agent("i-1", r#"{ instances_by_pk(id: "i-2") { id } }"#)
        .await?;
    assert_eq!(by_id, json!({"data": {"instances_by_pk": null}}));
    let nested = r#"{ slots { instance { id slots { instance_id } } } }"#;
    let nested = engine.agent("i-2", nested).await?;
    let expected = json!({"data": {"slots": [
        {"instance": {"id": "i-2", "slots": [{"instance_id": "i-2"}]}}]}});
    assert_eq!(nested, expected);
    let filtered = r#"{ slots(where: {user_id: {_eq: "alice"}}) { user_id } }"#;
    assert_eq!(
        rows(&engine.agent("i-2", filtered).await?, "slots")?.len(),
        0
    );
    let beat = r#"mutation { heartbeat(args: {instance_id: "i-2"}) { outcome status } }"#;
    let answer = engine.agent("i-1", beat).await?;
    assert_eq!(
        answer["data"]["heartbeat"],
        json!([{"outcome": "SHUT_DOWN", "status": null}])
    );
    Ok(())
}

#[tokio::test]
async fn agents_own_functions_work_through_graphql() -> Result<()> {
    let (_database, session, engine) = two_hosts().await?;
    session.launch(REGION, "i-3", 1).await?;
    let register = r#"mutation { register_host(args: {instance_id: "i-3", ip_addr: "10.3.3.3"})
                                 { instance_id outcome status } }"#;
    let answer = engine.agent("i-3", register).await?;
    let expected = json!([{"instance_id": "i-3", "outcome": "REGISTERED", "status": "ACTIVE"}]);
    assert_eq!(answer["data"]["register_host"], expected, "{answer}");
    let slot = session
        .row("SELECT id FROM slots WHERE user_id = 'alice'")
        .await?;
    let slot = slot["id"].as_str().unwrap_or_default();
    let steps = [
        (
            format!(
                r#"claim_slot(args: {{slot_id: "{slot}", user_id: "alice", session_id: "1"}})"#
            ),
            "CLAIMED",
        ),
        (
            format!(r#"report_slot(args: {{slot_id: "{slot}", status: "RUNNING"}})"#),
            "REPORTED",
        ),
        (
            format!(r#"report_slot(args: {{slot_id: "{slot}", status: "DYING"}})"#),
            "REPORTED",
        ),
        (
            format!(r#"replace_slot(args: {{slot_id: "{slot}"}})"#),
            "REPLACED",
        ),
    ];
    for (call, outcome) in steps {
        let answer = engine
            .agent("i-1", &format!("mutation {{ a: {call} {{ outcome }} }}"))
            .await?;
        assert_eq!(
            answer["data"]["a"],
            json!([{"outcome": outcome}]),
            "{call}: {answer}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn agent_can_call_and_change_nothing_else() -> Result<()> {
    let (_database, session, engine) = two_hosts().await?;
    let before = session.rows("SELECT * FROM instances ORDER BY id").await?;
    let refused = [
        "{ regions { name } }",
        "{ region_fences { version } }",
        "{ waiting_users { user_id } }",
        "{ images { image_id } }",
        "{ app_versions { version } }",
        "{ instances { missing_since } }",
        "{ slots_aggregate { aggregate { count } } }",
        "mutation { delete_instances(where: {}) { affected_rows } }",
        r#"mutation { update_instances(where: {}, _set: {status: "TERMINATING"}) { affected_rows } }"#,
        r#"mutation { update_slots(where: {}, _set: {user_id: "mallory"}) { affected_rows } }"#,
        r#"mutation { insert_slots(objects: [{instance_id: "i-1"}]) { affected_rows } }"#,
        r#"mutation { begin_pass(args: {region: "us-east-1", version: 99}) { version } }"#,
        r#"mutation { terminate_instances(args: {region: "us-east-1", version: 99,
            ids: ["i-1"], reason: "GONE"}) { outcome } }"#,
        r#"mutation { assign_slot(args: {user_id: "mallory", session_id: "1",
            regions: ["us-east-1"], client_sha: "3b1f", user_limit: 3, environment: "dev",
            local_dev: false}) { outcome } }"#,
        r#"mutation { heartbeat(args: {instance_id: "i-2",
            hasura_session: "{\"x-hasura-launch-id\": \"launch-of-i-2\"}"}) { outcome } }"#,
    ];
    for query in refused {
        let answer = engine.agent("i-1", query).await?;
        assert_eq!(
            error_code(&answer),
            "validation-failed",
            "{query}: {answer}"
        );
    }
    assert_eq!(
        session.rows("SELECT * FROM instances ORDER BY id").await?,
        before
    );
    Ok(())
}

#[tokio::test]
async fn users_and_anonymous_callers_have_no_access() -> Result<()> {
    let (_database, _session, engine) = two_hosts().await?;
    let queries = [
        "{ instances { id } }",
        "{ slots { id } }",
        r#"mutation { heartbeat(args: {instance_id: "i-1"}) { outcome } }"#,
        r#"mutation { begin_pass(args: {region: "us-east-1", version: 99}) { version } }"#,
    ];
    let mut user = agent_claims("i-1", 4_102_444_800);
    user["https://hasura.io/jwt/claims"]["x-hasura-default-role"] = json!("user");
    user["https://hasura.io/jwt/claims"]["x-hasura-allowed-roles"] = json!(["user"]);
    let user = sign(&user, JWT_KEY)?;
    for query in queries {
        assert!(
            !error_code(&engine.as_role("user", query).await?).is_empty(),
            "{query}"
        );
        assert!(
            !error_code(&engine.bearer(&user, query).await?).is_empty(),
            "{query}"
        );
        assert_eq!(
            error_code(&engine.anonymous(query).await?),
            "access-denied",
            "{query}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn wrong_tokens_and_secrets_are_refused() -> Result<()> {
    let (_database, _session, engine) = two_hosts().await?;
    let query = "{ instances { id } }";
    let good = agent_claims("i-1", 4_102_444_800);
    let forged = sign(&good, "another key of more than 32 bytes!!")?;
    let expired = sign(&agent_claims("i-1", 1), JWT_KEY)?;
    for token in [forged, expired, "no token".to_owned()] {
        assert_eq!(
            error_code(&engine.bearer(&token, query).await?),
            "invalid-jwt"
        );
    }
    let client = reqwest::Client::new();
    let ask = |headers: &[(&str, &str)]| {
        let request = client.post(format!("{}/v1/graphql", engine.url()));
        headers
            .iter()
            .fold(request, |request, (name, value)| {
                request.header(*name, *value)
            })
            .json(&json!({"query": query}))
    };
    let token = sign(&good, JWT_KEY)?;
    let cases: [&[(&str, &str)]; 3] = [
        &[("x-hasura-admin-secret", "wrong")],
        // A token names its roles; its bearer cannot take another.
        &[
            ("authorization", &format!("Bearer {token}")),
            ("x-hasura-role", "admin"),
        ],
        &[
            ("x-hasura-role", "host_agent"),
            ("x-hasura-launch-id", "launch-of-i-1"),
        ],
    ];
    for headers in cases {
        let answer: Value = ask(headers).send().await?.json().await?;
        assert_eq!(error_code(&answer), "access-denied", "{answer}");
    }
    // A header does not change the launch that a token names.
    let bearer = format!("Bearer {token}");
    let other = [
        ("authorization", bearer.as_str()),
        ("x-hasura-launch-id", "launch-of-i-2"),
    ];
    let answer: Value = ask(&other).send().await?.json().await?;
    assert_eq!(answer, json!({"data": {"instances": [{"id": "i-1"}]}}));
    Ok(())
}

#[tokio::test]
async fn only_graphql_is_served() -> Result<()> {
    let (_database, _session, engine) = two_hosts().await?;
    for path in [
        "/instances",
        "/api/instances",
        "/rpc/begin_pass",
        "/api/rpc/heartbeat",
        "/_/ready",
    ] {
        let status = reqwest::get(format!("{}{path}", engine.url()))
            .await?
            .status();
        assert_eq!(status, 404, "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn requests_outside_the_metadata_are_refused() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    let beat = r#"mutation { heartbeat(args: {instance_id: "i-1"}) { outcome } }"#;
    let folder = altered(
        "databases/default/functions/public_heartbeat.yaml",
        "  - role: host_agent",
        "  - role: somebody_else",
    )?;
    let engine = Engine::with_metadata(&database, folder.path()).await?;
    assert_eq!(
        error_code(&engine.agent("i-1", beat).await?),
        "validation-failed"
    );
    assert_eq!(
        rows(
            &engine.agent("i-1", "{ instances { ip_addr } }").await?,
            "instances"
        )?
        .len(),
        1
    );
    drop(engine);

    let instances = "databases/default/tables/public_instances.yaml";
    let folder = altered(instances, "        - ip_addr\n", "")?;
    let engine = Engine::with_metadata(&database, folder.path()).await?;
    let answer = engine.agent("i-1", "{ instances { ip_addr } }").await?;
    assert_eq!(error_code(&answer), "validation-failed");
    drop(engine);

    let folder = altered(instances, "_eq: X-Hasura-Launch-Id", "_eq: nobody")?;
    let engine = Engine::with_metadata(&database, folder.path()).await?;
    assert!(
        rows(
            &engine.agent("i-1", "{ instances { id } }").await?,
            "instances"
        )?
        .is_empty()
    );
    Ok(())
}

#[tokio::test]
async fn metadata_that_cannot_be_served_is_refused_with_a_reason() -> Result<()> {
    let (database, _session) = Database::with_region(0).await?;
    let tables = "databases/default/tables/";
    let functions = "databases/default/functions/";
    let cases = [
        // Keys that the engine does not know.
        (
            format!("{tables}public_slots.yaml"),
            "filter:",
            "query_root_fields: []\n      filter:",
            "query_root_fields",
        ),
        (
            format!("{tables}public_regions.yaml"),
            "table:",
            "is_enum: true\ntable:",
            "is_enum",
        ),
        // Features that the engine does not serve.
        (
            "remote_schemas.yaml".to_owned(),
            "[]",
            "[{name: other}]",
            "remote_schemas.yaml",
        ),
        (
            "actions.yaml".to_owned(),
            "actions: []",
            "actions: [{name: pay}]",
            "actions.yaml",
        ),
        (
            format!("{functions}public_begin_pass.yaml"),
            "mutation",
            "query",
            "begin_pass",
        ),
        // Tables and functions that only the metadata or only the database has.
        (
            format!("{tables}public_slots.yaml"),
            "- session_id",
            "- seat",
            "seat",
        ),
        (
            format!("{tables}public_slots.yaml"),
            "_on: instance_id",
            "_on: session_id",
            "instance",
        ),
        (
            format!("{tables}tables.yaml"),
            "- \"!include public_regions.yaml\"\n",
            "",
            "public.regions",
        ),
        (
            format!("{functions}public_heartbeat.yaml"),
            "name: heartbeat",
            "name: pulse",
            "public.pulse",
        ),
        (
            format!("{tables}public_app_versions.yaml"),
            "- version",
            "- edition",
            "edition",
        ),
    ];
    for (file, from, to, named) in cases {
        let folder = altered(&file, from, to)?;
        let error = Engine::with_metadata(&database, folder.path())
            .await
            .unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains(named), "{file}, {from:?} to {to:?}: {error}");
    }
    Ok(())
}
