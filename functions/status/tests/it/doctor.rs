//! `/doctor`: what doctor found when it ran last.

use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::doctor::{Check, Report};
use testing::region_overview;

use crate::support::{Answer, TOKEN, World, request};

async fn page(world: &World) -> Answer {
    let mut event = request("GET", "/doctor", Some(&format!("Bearer {TOKEN}")));
    event["headers"]["accept"] = json!("text/html");
    world.send(event).await
}

fn world_with(checks: Vec<Check>, hours_ago: i64) -> World {
    let world = World::of([region_overview("us-east-1")]);
    let at = world.function.clock.now() - SignedDuration::from_hours(hours_ago);
    world.store.items().report = Some(Report::new(at, 900, checks));
    world
}

fn leaking() -> Check {
    let check = Check::wrong(
        "host-agents",
        "an agent reads <regions>",
        "Bad.",
        "Mend it.",
    );
    check.in_region(&"us-east-1".into())
}

#[tokio::test]
async fn page_shows_each_check_with_its_remedy_and_what_is_wrong_first() {
    let world = world_with(
        vec![Check::ok("postgresql", "PostgreSQL 16.4"), leaking()],
        1,
    );
    let answer = page(&world).await;
    assert_eq!(answer.status, 200);
    let at = |text: &str| {
        answer
            .page
            .find(text)
            .unwrap_or_else(|| panic!("{text}: {}", answer.page))
    };
    assert!(at("1 wrong, 0 warnings in 2 checks") < at("host-agents"));
    assert!(at("an agent reads &#60;regions&#62;") < at("Mend it."));
    assert!(at("Mend it.") < at("PostgreSQL 16.4"));
    assert!(!answer.page.contains("more than a day old"));
}

#[tokio::test]
async fn report_of_the_day_before_is_marked_as_old() {
    let answer = page(&world_with(vec![leaking()], 25)).await;
    assert!(
        answer.page.contains("more than a day old"),
        "{}",
        answer.page
    );
}

#[tokio::test]
async fn page_without_a_report_says_how_to_get_one() {
    let world = World::of([]);
    let answer = page(&world).await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.page.contains("Nobody has run doctor"),
        "{}",
        answer.page
    );
    assert!(
        answer.page.contains(r#"{"doctor": true}"#),
        "{}",
        answer.page
    );
    assert_eq!(world.get("/doctor").await.body, json!({"doctor": null}));
}

#[tokio::test]
async fn report_is_answered_as_json_to_programs_with_the_token_only() {
    let world = world_with(vec![leaking()], 1);
    let answer = world.get("/doctor").await;
    assert_eq!(answer.body["doctor"]["verdict"], "wrong");
    assert_eq!(answer.body["doctor"]["checks"][0]["region"], "us-east-1");
    let stranger = world.send(request("GET", "/doctor", None)).await;
    assert_eq!(
        (stranger.status, &stranger.body["doctor"]),
        (401, &Value::Null)
    );
}

#[tokio::test]
async fn report_that_cannot_be_read_is_a_503() {
    let world = world_with(vec![leaking()], 1);
    world.fail("newest report");
    assert_eq!(world.get("/doctor").await.status, 503);
}
