//! All fields of a mutation are one transaction, in order.

use anyhow::Result;
use scaling_tests::database::{Database, REGION};
use scaling_tests::graphql::{Engine, error_code};
use serde_json::json;

#[tokio::test]
async fn failing_field_undoes_the_fields_before_it() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    let engine = Engine::start(&database).await?;
    let fences = "SELECT FROM region_fences";
    let mutation = |to: &str| {
        format!(
            r#"mutation {{
                begin_pass(args: {{region: "{REGION}", version: 7}}) {{ granted }}
                move_image(args: {{region: "{REGION}", version: 7, image_id: "ami-1",
                    from_state: "WARMING", to_state: "{to}", reason: "r"}}) {{ outcome }}
            }}"#
        )
    };
    for _ in 0..2 {
        let answer = engine.admin(&mutation("nowhere")).await?;
        assert_eq!(error_code(&answer), "data-exception", "{answer}");
        assert_eq!(session.count(fences).await?, 0, "begin_pass was undone");
    }
    let answer = engine.admin(&mutation("CURRENT")).await?;
    let expected = json!({"data": {
        "begin_pass": [{"granted": true}],
        "move_image": [{"outcome": "ALREADY"}],
    }});
    assert_eq!(answer, expected);
    assert_eq!(session.count(fences).await?, 1);
    Ok(())
}

#[tokio::test]
async fn fields_see_what_the_fields_before_them_wrote() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.launch(REGION, "i-1", 1).await?;
    let engine = Engine::start(&database).await?;
    let query = r#"mutation {
        before: observe_instances(args: {region: "us-east-1", after_id: "", page_size: 9}) { status }
        drain_instances(args: {region: "us-east-1", version: 2, ids: ["i-1"],
            cause: "SURPLUS"}) { outcome }
        after: observe_instances(args: {region: "us-east-1", after_id: "", page_size: 9}) { status }
    }"#;
    let answer = engine.admin(query).await?;
    let expected = json!({"data": {
        "before": [{"status": "PRE_CONNECTION"}],
        "drain_instances": [{"outcome": "DONE"}],
        "after": [{"status": "DRAINING"}],
    }});
    assert_eq!(answer, expected);
    Ok(())
}

/// More mutations at once than the engine has connections for them.
#[tokio::test(flavor = "multi_thread")]
async fn many_mutations_of_several_fields_succeed_at_once() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    let engine = Engine::start(&database).await?;
    let mutation = |version: usize| {
        format!(
            r#"mutation {{
                begin_pass(args: {{region: "r-{version}", version: {version}}}) {{ granted }}
                again: begin_pass(args: {{region: "r-{version}", version: {version}}}) {{ granted }}
            }}"#
        )
    };
    let mutations = (1..=40).map(|version| {
        let (engine, mutation) = (&engine, mutation(version));
        async move { engine.admin(&mutation).await }
    });
    for answer in futures::future::try_join_all(mutations).await? {
        let granted = json!([{"granted": true}]);
        let expected = json!({"data": {"begin_pass": granted, "again": granted}});
        assert_eq!(answer, expected);
    }
    assert_eq!(session.count("SELECT FROM region_fences").await?, 40);
    Ok(())
}
