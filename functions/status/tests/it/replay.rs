//! `/replay`: what other settings would have cost, as JSON and as a page.

use std::sync::Arc;

use serde_json::json;
use status::auth::Access;
use testing::EveryMinute;

use crate::support::{Answer, TOKEN, World, request};

fn world() -> World {
    let mut world = World::decided(10);
    world.function.recordings = Some(Arc::new(EveryMinute));
    world
}

async fn browse(world: &World, path: &str) -> Answer {
    let mut event = request("GET", path, Some(&format!("Bearer {TOKEN}")));
    event["headers"]["accept"] = json!("text/html");
    world.send(event).await
}

#[tokio::test]
async fn json_has_todays_settings_and_the_proposed_ones() {
    let path = "/replay?region=us-east-1&since=1h&target_free=20";
    let answer = world().get(path).await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    let replay = &answer.body;
    assert_eq!(replay["recorded"]["users"], 60);
    assert_eq!(
        replay["proposals"][0]["settings"],
        json!({"target_free": 20})
    );
    let hours = |of: &serde_json::Value| of["machine_hours"].as_f64().unwrap();
    assert!(hours(&replay["today"]) < hours(&replay["proposals"][0]));
}

#[tokio::test]
async fn page_has_a_form_a_table_and_the_frontier() {
    let path = "/replay?region=us-east-1&since=1h&algorithm=adaptive&target_free=2";
    let answer = browse(&world(), path).await;
    assert_eq!(answer.status, 200, "{answer:#?}");
    let page = &answer.page;
    for text in [
        "<form method=\"get\"",
        "what happened",
        "algorithm = adaptive, target_free = 2",
        "<svg",
        "<option value=\"adaptive\" selected>",
        "region=us-east-1&#38;since=1h&#38;algorithm=adaptive&#38;target_free=2&#38;format=json",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
}

#[tokio::test]
async fn wrong_parameters_and_unknown_regions_are_named() {
    let world = world();
    for (query, status, says) in [
        ("", 400, "`region`"),
        ("?region=us-east-1&since=2w", 400, "`since`"),
        (
            "?region=us-east-1&target_free=x",
            400,
            "`target_free` must be a whole number",
        ),
        ("?region=us-east-9", 404, "us-east-9"),
    ] {
        let answer = world.get(&format!("/replay{query}")).await;
        assert_eq!(answer.status, status, "{query}: {answer:#?}");
        assert!(
            answer.body.to_string().contains(says),
            "{query}: {answer:#?}"
        );
    }
}

#[tokio::test]
async fn replay_is_not_for_everybody() {
    let mut world = world();
    world.function.access = Access::Open;
    let answer = world.get("/replay?region=us-east-1&since=1h").await;
    assert_eq!(answer.status, 403, "{answer:#?}");
}
