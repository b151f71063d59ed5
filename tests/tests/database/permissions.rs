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

fn own(id: &str) -> String {
    format!(r#"mutation {{ own_instance(args: {{instance_id: "{id}"}}) {{ id status slots }} }}"#)
}

#[tokio::test]
async fn agent_reads_its_own_instance_and_no_other() -> Result<()> {
    let (_database, session, engine) = two_hosts().await?;
    for (id, user) in [("i-1", json!("alice")), ("i-2", Value::Null)] {
        let answer = engine.agent(id, &own(id)).await?;
        let [row] = &rows(&answer, "own_instance")?[..] else {
            panic!("{answer}");
        };
        assert_eq!(row["id"], json!(id));
        assert_eq!(row["status"], "ACTIVE");
        assert_eq!(row["slots"][0]["user_id"], user);
        assert_eq!(row["slots"].as_array().map(Vec::len), Some(1));
    }
    for (agent, other) in [
        ("i-1", "i-2"),
        ("i-2", "i-1"),
        ("i-3", "i-1"),
        ("i-1", "i-9"),
    ] {
        let answer = engine.agent(agent, &own(other)).await?;
        assert!(
            rows(&answer, "own_instance")?.is_empty(),
            "{agent}: {answer}"
        );
    }
    assert_eq!(session.count("SELECT FROM instances").await?, 2);
    let beat = r#"mutation { heartbeat(args: {instance_id: "i-2"}) { outcome status token } }"#;
    let answer = engine.agent("i-1", beat).await?;
    assert_eq!(
        answer["data"]["heartbeat"],
        json!([{"outcome": "SHUT_DOWN", "status": null, "token": null}])
    );
    Ok(())
}

/// A query that goes from row to row grows with every level: six at once kept all others waiting.
#[tokio::test]
async fn agent_reads_no_table_and_no_schema() -> Result<()> {
    let (_database, _session, engine) = two_hosts().await?;
    let levels = 5;
    let query = format!(
        "{{ {}id{} }}",
        "instances{slots{instance{slots{".repeat(levels),
        "}".repeat(4 * levels)
    );
    for query in [
        query.as_str(),
        "{ instances { id } }",
        "{ slots { id } }",
        "{ heartbeats { instance_id } }",
        r#"{ instances_by_pk(id: "i-1") { id } }"#,
        r#"mutation { own_instance(args: {instance_id: "i-1"}) { slots { id } } }"#,
    ] {
        let answer = engine.agent("i-1", query).await?;
        assert_eq!(
            error_code(&answer),
            "validation-failed",
            "{query}: {answer}"
        );
    }
    // Introspection is off for the role.
    for query in [
        "{ __schema { types { name } } }",
        r#"{ __type(name: "instances") { name } }"#,
    ] {
        let answer = engine.agent("i-1", query).await?;
        assert!(!error_code(&answer).is_empty(), "{query}: {answer}");
    }
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
        (
            r#"leave_host(args: {instance_id: "i-1", reason: "the GPU is gone"})"#.to_owned(),
            "LEAVING",
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
        r#"mutation { revoke_agent(args: {instance_id: "i-2"}) { outcome } }"#,
        r#"mutation { end_session(args: {user_id: "alice", session_id: "1"}) { outcome } }"#,
        r#"mutation { end_own_session(args: {user_id: "alice", session_id: "1"}) { outcome } }"#,
        r#"mutation { renew_tokens(args: {region: "us-east-1", version: 99, tokens: []})
            { outcome } }"#,
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
    let query = own("i-1");
    let query = query.as_str();
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
    assert_eq!(answer["data"]["own_instance"][0]["id"], "i-1", "{answer}");
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
        rows(&engine.agent("i-1", &own("i-1")).await?, "own_instance")?.len(),
        1
    );
    drop(engine);

    let shape = "databases/default/tables/public_own_instances.yaml";
    let folder = altered(shape, "        - slots\n", "")?;
    let engine = Engine::with_metadata(&database, folder.path()).await?;
    let answer = engine.agent("i-1", &own("i-1")).await?;
    assert_eq!(error_code(&answer), "validation-failed");
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
            format!("{tables}public_agent_answers.yaml"),
            "filter:",
            "computed_fields: []\n      filter:",
            "computed_fields",
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
            format!("{tables}public_own_instances.yaml"),
            "- notice",
            "- seat",
            "seat",
        ),
        (
            format!("{tables}public_slots.yaml"),
            "  schema: public",
            "  schema: public\nobject_relationships:\n  - name: instance\n    using:\n      \
             foreign_key_constraint_on: session_id",
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
