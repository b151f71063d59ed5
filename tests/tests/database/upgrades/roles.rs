//! Which roles may request an image, move one, and read the state of upgrades.

use anyhow::Result;
use scaling_tests::database::{Database, REGION};
use scaling_tests::graphql::{Engine, JWT_KEY, agent_claims, error_code, sign};
use serde_json::json;

use super::{images, set_images};

const ASK: &str = r#"mutation { ask_upgrade(args: {region: "us-east-1", image_id: "ami-2",
    client_sha: "new"}) { image_id outcome state } }"#;
const MOVE: &str = r#"mutation { move_image(args: {region: "us-east-1", version: 99,
    image_id: "ami-2", from_state: "WARMING", to_state: "FAILED", reason: "because"})
    { id outcome } }"#;

#[tokio::test]
async fn only_the_administrator_requests_moves_and_reads_images() -> Result<()> {
    let (database, session) = Database::with_region(0).await?;
    session.host("i-1", 1).await?;
    set_images(&session, &["ami-1 CURRENT", "ami-2 WARMING new"]).await?;
    let before = images(&session).await?;
    let engine = Engine::start(&database).await?;
    let mut user = agent_claims("i-1", 4_102_444_800);
    user["https://hasura.io/jwt/claims"]["x-hasura-default-role"] = json!("user");
    user["https://hasura.io/jwt/claims"]["x-hasura-allowed-roles"] = json!(["user"]);
    let user = sign(&user, JWT_KEY)?;
    let queries = [
        ASK,
        MOVE,
        "{ images { state_since } }",
        "{ images { reason } }",
        "{ image_answers { outcome } }",
        "{ regions { swap_when_warm bake_seconds } }",
        r#"mutation { observe_region(args: {region: "us-east-1", environment: "dev"})
            { app_client_sha } }"#,
        r#"mutation { update_images(where: {}, _set: {state: "RETIRED"}) { affected_rows } }"#,
        r#"mutation { insert_images(objects: [{region: "us-east-1", image_id: "ami-3",
            client_sha: "x", state: "BAKING"}]) { affected_rows } }"#,
        "mutation { update_regions(where: {}, _set: {swap_when_warm: true}) { affected_rows } }",
    ];
    for query in queries {
        let agent = engine.agent("i-1", query).await?;
        assert_eq!(error_code(&agent), "validation-failed", "{query}: {agent}");
        for answer in [
            engine.as_role("host_agent", query).await?,
            engine.as_role("user", query).await?,
            engine.bearer(&user, query).await?,
        ] {
            assert!(!error_code(&answer).is_empty(), "{query}: {answer}");
        }
        let stranger = engine.anonymous(query).await?;
        assert_eq!(error_code(&stranger), "access-denied", "{query}");
    }
    assert_eq!(images(&session).await?, before);

    let requested = engine.admin(ASK).await?;
    let already = json!([{"image_id": "ami-2", "outcome": "ALREADY", "state": "WARMING"}]);
    assert_eq!(requested["data"]["ask_upgrade"], already, "{requested}");
    let moved = engine.admin(MOVE).await?;
    let done = json!([{"id": "ami-2", "outcome": "DONE"}]);
    assert_eq!(moved["data"]["move_image"], done, "{moved}");
    let seen = r#"{ images(where: {state: {_eq: "FAILED"}}) { image_id reason }
        regions { name upgrade_surge upgrade_seconds swap_when_warm bake_seconds
            old_image_seconds } }"#;
    let expected = json!({"data": {
        "images": [{"image_id": "ami-2", "reason": "because"}],
        "regions": [{"name": REGION, "upgrade_surge": 0, "upgrade_seconds": 9000,
            "swap_when_warm": false, "bake_seconds": 1800, "old_image_seconds": null}],
    }});
    assert_eq!(engine.admin(seen).await?, expected);
    Ok(())
}
