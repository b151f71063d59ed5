//! Which regions are stale.

use jiff::SignedDuration;
use serde_json::json;
use testing::region_overview;

use crate::support::{Answer, STALE_SECONDS, World};

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
async fn service_without_regions_is_healthy() {
    let world = World::of([]);
    is_healthy(&world.get("/healthz").await);
    let status = world.get("/").await.body;
    assert_eq!(
        status,
        json!({"status": 1, "isMaster": true, "now": null, "stale_seconds": 180, "stale": [],
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
