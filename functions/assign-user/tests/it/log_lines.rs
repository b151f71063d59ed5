//! Log lines, and what they must not contain.

use serde_json::json;
use startup::config::Stage;
use testing::Log;
use tracing::Level;

use crate::support::{Reply, Request, SLOT, TOKEN, Token, World};

#[tokio::test]
async fn slot_outside_of_the_nearest_enabled_region_is_logged() {
    let world = World::new().await;
    let log = Log::start(Level::TRACE);
    world.send(&Request::good()).await;
    // The nearest region of this request, us-east-1, is disabled.
    let of_next = json!({
        "outcome": "ASSIGNED", "slot_id": SLOT, "ip_addr": "198.51.100.7", "region": "us-west-2",
        "instance_id": "i-1", "app_version": null, "app_client_sha": null, "nearest": "us-west-2",
        "waited_seconds": 0,
    });
    world.hasura.then(Reply::row(&of_next));
    world.send(&Request::good()).await;
    assert!(!log.text().contains("outside of the user's nearest"));
    world.hasura.then(Reply::assigned("us-west-2"));
    world.send(&Request::good()).await;
    log.says(&[
        "outside of the user's nearest enabled region",
        "us-east-1",
        "us-west-2",
    ]);
}

#[tokio::test]
async fn mismatch_is_an_error_in_production_unless_the_client_is_older() {
    const OLDER: &str = "must be updated";
    const UNSERVED: &str = "no image serves this client";
    let mut world = World::new().await;
    for (stage, version, level, words) in [
        (Stage::Production, json!("3.0.9"), "INFO", OLDER),
        (Stage::Production, json!("3.1.0-rc.2"), "INFO", OLDER),
        (Stage::Production, json!("3.1.0"), "ERROR", UNSERVED),
        (Stage::Production, json!("4"), "ERROR", UNSERVED),
        (Stage::Production, json!("?"), "ERROR", UNSERVED),
        (Stage::Production, json!(null), "ERROR", UNSERVED),
        (Stage::Other, json!("3.0.9"), "INFO", OLDER),
        (Stage::Other, json!("3.1.0"), "WARN", UNSERVED),
        (Stage::Other, json!(null), "WARN", UNSERVED),
    ] {
        world.function.stage = stage;
        let log = Log::start(Level::TRACE);
        world.hasura.then(Reply::refused("COMMIT_HASH_MISMATCH"));
        world.send(&Request::good().field("version", version)).await;
        log.says(&[level, words]);
    }
}

#[tokio::test]
async fn region_without_an_image_is_an_error_in_the_log() {
    let world = World::new().await;
    let log = Log::start(Level::TRACE);
    world.hasura.then(Reply::refused("NO_IMAGE_SERVED"));
    world.send(&Request::good()).await;
    log.says(&["ERROR", "no image is CURRENT"]);
}

#[tokio::test]
async fn claims_of_the_client_cannot_forge_a_log_line() {
    let world = World::new().await;
    let log = Log::start(Level::TRACE);
    let forged = "ada@example.com\n2026-11-20T10:00:00Z ERROR assign_user: all is lost";
    world
        .send(
            &Request::good()
                .field("user_email", forged)
                .field("version", "1\r\n2"),
        )
        .await;
    log.says(&["assigned", "claimed_email=\"ada@example.com?2026"]);
    assert!(
        !log.text()
            .lines()
            .any(|line| line.starts_with("2026-11-20T10:00:00Z ERROR"))
    );
}

#[tokio::test]
async fn secrets_and_tokens_are_not_logged() {
    let world = World::new().await;
    let log = Log::start(Level::TRACE);
    let good = Token::of("auth0|ada");
    let tokens = [
        good.rs256(),
        good.rs256_by_another(),
        good.clone().claim("exp", 1).rs256(),
        good.clone().claim("sub", "").rs256(),
        good.clone().header("alg", "none").rs256(),
        good.clone().header("kid", "unknown").rs256(),
    ];
    for token in &tokens {
        world.send_token(token).await;
    }
    world.hasura.then(Reply::Status(500, "broken".into()));
    world.hasura.then(Reply::Status(500, "broken".into()));
    world.send_token(&tokens[0]).await;
    world.provider.answers(500, "");

    let log = log.text();
    assert!(
        log.contains("assigned") && log.contains("assignment failed"),
        "{log}"
    );
    assert!(!log.contains(TOKEN), "{log}");
    for part in tokens.iter().flat_map(|token| token.split('.')) {
        assert!(!log.contains(part), "`{part}` in\n{log}");
    }
}
