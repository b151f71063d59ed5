//! Which regions are stale.

use jiff::SignedDuration;
use serde_json::json;
use shared::db::DbError;
use testing::region_overview;

use crate::support::{Answer, STALE_SECONDS, World, request};

fn is_stale(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:#?}");
    assert_eq!(answer.body, json!({"status": 0, "stale": ["us-east-1"]}));
}

fn is_healthy(answer: &Answer) {
    assert_eq!(answer.status, 200, "{answer:#?}");
    assert_eq!(answer.body, json!({"status": 1}));
}

#[tokio::test]
async fn region_is_stale_when_its_newest_decision_is_too_old() {
    is_healthy(&World::decided(STALE_SECONDS).get("/healthz").await);
    let world = World::decided(STALE_SECONDS + 1);
    is_stale(&world.get("/healthz").await);
    let status = world.get("/").await.body;
    assert_eq!(status["status"], 0);
    assert_eq!(status["stale"], json!(["us-east-1"]));
    assert_eq!(status["regions"][0]["stale"], true);
    let fresh = region_overview("us-east-1").now - SignedDuration::from_secs(5);
    world.decide("us-east-1", 2, fresh);
    world.clock.advance(SignedDuration::from_secs(5));
    is_healthy(&world.get("/healthz").await);
}

#[tokio::test]
async fn region_without_decisions_is_stale_by_the_age_of_its_row() {
    for (age, stale) in [(STALE_SECONDS, false), (STALE_SECONDS + 1, true)] {
        let mut region = region_overview("us-east-1");
        region.created_at = region.now - SignedDuration::from_secs(age);
        let answer = World::of([region]).get("/healthz").await;
        if stale {
            is_stale(&answer);
        } else {
            is_healthy(&answer);
        }
    }
}

#[tokio::test]
async fn disabled_or_paused_region_is_not_stale() {
    for (enabled, paused) in [(false, false), (true, true), (false, true)] {
        let mut region = region_overview("us-east-1");
        region.created_at = region.now - SignedDuration::from_hours(9);
        (region.enabled, region.paused) = (enabled, paused);
        let world = World::of([region]);
        is_healthy(&world.get("/healthz").await);
        assert_eq!(world.requests(), (1, 0), "its decisions are not read");
        assert_eq!(world.get("/").await.body["regions"][0]["stale"], false);
    }
}

#[tokio::test]
async fn service_without_regions_says_so() {
    let world = World::of([]);
    let answer = world.get("/healthz").await;
    assert_eq!(answer.status, 503, "{answer:#?}");
    let says = "no region is set up: insert a row into the table `regions`";
    assert_eq!(answer.body, json!({"status": 0, "problem": says}));
    let status = world.get("/").await.body;
    assert_eq!(
        status,
        json!({"status": 0, "isMaster": true, "now": null, "stale_seconds": 180, "stale": [],
            "regions": []})
    );
}

#[tokio::test]
async fn stale_regions_are_named() {
    let names = ["ap-south-1", "eu-west-1", "us-east-1"];
    let world = World::of(names.map(region_overview));
    let now = region_overview("eu-west-1").now;
    world.decide("eu-west-1", 5, now);
    for stale in ["ap-south-1", "us-east-1"] {
        world.decide(stale, 5, now - SignedDuration::from_mins(10));
    }
    let answer = world.get("/healthz").await;
    assert_eq!(answer.body["stale"], json!(["ap-south-1", "us-east-1"]));
}

#[tokio::test]
async fn health_counts_no_instances_and_is_read_once_in_five_seconds() {
    let world = World::decided(10);
    // Strangers, all at once.
    for _ in 0..100 {
        is_healthy(&world.send(request("GET", "/healthz", None)).await);
    }
    assert_eq!(world.requests(), (1, 1));
    assert_eq!(world.overview.state().counted, 0);
    world.clock.advance(SignedDuration::from_secs(4));
    is_healthy(&world.get("/healthz").await);
    assert_eq!(world.requests(), (1, 1));
    world.clock.advance(SignedDuration::from_secs(1));
    is_healthy(&world.get("/healthz").await);
    assert_eq!(world.requests(), (2, 2));
    assert_eq!(world.overview.state().counted, 0);
}

#[tokio::test]
async fn failure_to_read_is_remembered_as_long() {
    let world = World::decided(10);
    world.overview.state().next_error = Some(DbError::Unavailable {
        operation: "look",
        reason: "hasura.internal refused".to_owned(),
    });
    for _ in 0..100 {
        let answer = world.send(request("GET", "/healthz", None)).await;
        assert_eq!(answer.status, 503);
        let body = json!({"status": 0, "error": "SERVICE_UNAVAILABLE"});
        assert_eq!(answer.body, body);
    }
    assert_eq!(world.requests(), (1, 0));
    world.clock.advance(SignedDuration::from_secs(5));
    is_healthy(&world.get("/healthz").await);
}

#[tokio::test]
async fn session_of_a_caller_is_not_looked_up_for_health() {
    let world = World::decided(10);
    let mut event = request("GET", "/healthz", None);
    event["cookies"] = json!([world.session().await]);
    is_healthy(&world.send(event).await);
    assert_eq!(world.requests(), (1, 1));
}
