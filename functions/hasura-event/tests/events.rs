//! Events, their answers and their passes, with fakes of all that a pass uses.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::fs;
use std::path::Path;

use hasura_event::HasuraEvents;
use secrecy::SecretString;
use serde_json::{Value, json};
use shared::lock::LockError;
use testing::World;

const SECRET: &str = "the secret that Hasura sends";

fn function(world: &World) -> HasuraEvents {
    HasuraEvents {
        reconciler: world.reconciler(),
        secret: SecretString::from(SECRET),
        environment: "dev".to_owned(),
    }
}

/// A sample from `events/`, with the real secret in place of the placeholder.
fn sample(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../events/{name}.json"));
    let text = fs::read_to_string(path).unwrap();
    serde_json::from_str(&text.replace("REPLACE_WITH_THE_SECRET", SECRET)).unwrap()
}

struct Answer {
    status: i64,
    body: Value,
}

async fn send(world: &World, event: Value) -> Answer {
    let answer = function(world).handle(event, "test").await;
    let body = serde_json::from_str(answer.body.as_deref().unwrap()).unwrap();
    Answer {
        status: answer.status_code,
        body,
    }
}

fn launches(world: &World) -> usize {
    world.host.state().launches.len()
}

#[tokio::test]
async fn wake_causes_a_pass_at_once() {
    let world = World::with([]);
    let answer = send(&world, sample("hasura-event-region-wake")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["regions"][0]["result"]["outcome"], "done");
    assert_eq!(launches(&world), 2);
    assert!(world.items().wake_mark.is_none(), "the pass has cleared it");
}

#[tokio::test]
async fn repeated_event_changes_nothing() {
    let world = World::with([]);
    for _ in 0..5 {
        let answer = send(&world, sample("hasura-event-region-wake")).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(world.items().decisions.len(), 1);
    assert!(
        world.items().wake_mark.is_none(),
        "a repeat leaves no mark behind"
    );
}

#[tokio::test]
async fn samples_cause_their_passes() {
    for (name, looks) in [
        ("hasura-event-region-wake", 1),
        ("hasura-event-instance-draining", 1),
        ("hasura-event-app-version", 1),
        ("hasura-event-unknown-trigger", 0),
    ] {
        let world = World::with([]);
        let answer = send(&world, sample(name)).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.body);
        assert_eq!(world.items().decisions.len(), looks, "{name}");
    }
}

#[tokio::test]
async fn malformed_samples_are_rejected_without_a_wake_mark() {
    for (name, status, says) in [
        ("hasura-event-no-secret", 401, "x-event-secret"),
        ("hasura-event-not-json", 400, "not the payload"),
        ("hasura-event-no-region", 400, "event.data.new.region"),
        ("hasura-event-no-id", 400, "`id`"),
        ("hasura-event-get", 405, "POST"),
    ] {
        let world = World::with([]);
        let answer = send(&world, sample(&format!("malformed/{name}"))).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.body);
        let error = answer.body["message"].as_str().unwrap();
        assert!(error.contains(says), "{name}: {error}");
        testing::assert_plain(error);
        assert!(world.store.items().calls.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn invalid_region_name_is_rejected_without_a_write() {
    for name in ["US EAST", "../x", "x#LOCK", "", &"r".repeat(3000)] {
        let world = World::with([]);
        let mut event = sample("hasura-event-region-wake");
        let mut payload: Value = serde_json::from_str(event["body"].as_str().unwrap()).unwrap();
        payload["event"]["data"]["new"]["region"] = json!(name);
        event["body"] = json!(payload.to_string());
        let answer = send(&world, event).await;
        assert_eq!(answer.status, 400, "{name:.20}: {}", answer.body);
        testing::assert_plain(&answer.body.to_string());
        assert!(world.store.items().calls.is_empty(), "{name:.20}");
    }
}

#[tokio::test]
async fn request_without_secret_is_rejected_unread() {
    let world = World::with([]);
    for secret in [
        json!(""),
        json!("the secret that Hasura send"),
        json!(format!("{SECRET}x")),
    ] {
        let mut event = sample("malformed/hasura-event-not-json");
        event["headers"]["x-event-secret"] = secret;
        assert_eq!(send(&world, event).await.status, 401);
    }
}

#[tokio::test]
async fn change_that_needs_no_pass_is_ignored() {
    let world = World::with([]);
    let mut event = sample("hasura-event-instance-draining");
    let body = event["body"]
        .as_str()
        .unwrap()
        .replace("DRAINING", "TERMINATING");
    event["body"] = json!(body);
    assert_eq!(send(&world, event).await.status, 200);
    let mut event = sample("hasura-event-app-version");
    let body = event["body"]
        .as_str()
        .unwrap()
        .replace("\"dev\"", "\"prod\"");
    event["body"] = json!(body);
    assert_eq!(send(&world, event).await.status, 200);
    assert!(world.store.items().calls.is_empty());
}

#[tokio::test]
async fn wake_that_is_not_durable_is_handled_when_sent_again() {
    let world = World::with([]);
    let down = || LockError::Unavailable {
        operation: "mark",
        reason: "DynamoDB is down".into(),
    };
    for call in ["is_seen", "set_wake_mark", "record_seen"] {
        world.store.items().next_error = Some((call, down()));
        let answer = send(&world, sample("hasura-event-region-wake")).await;
        assert_eq!(answer.status, 503, "{call}");
        assert_eq!(answer.body, json!({"error": "SERVICE_UNAVAILABLE"}));
        assert!(
            world.store.items().seen.is_empty(),
            "{call}: not seen before it is durable"
        );
    }
    assert_eq!(
        send(&world, sample("hasura-event-region-wake"))
            .await
            .status,
        200
    );
    assert_eq!(launches(&world), 2);
}

#[tokio::test]
async fn failed_pass_leaves_the_wake_mark_for_the_next_one() {
    let world = World::with([]);
    world.host.state().fail_next_list = true;
    let answer = send(&world, sample("hasura-event-region-wake")).await;
    assert_eq!(
        answer.status, 200,
        "the wake mark is durable: sending the event again is useless"
    );
    assert_eq!(answer.body["regions"][0]["result"]["outcome"], "failed");
    assert!(world.items().wake_mark.is_some(), "and not lost");
    world.pass().await;
    assert_eq!(launches(&world), 2);
}

#[tokio::test]
async fn oversized_body_is_rejected() {
    let world = World::with([]);
    let mut event = sample("hasura-event-region-wake");
    event["body"] = json!("x".repeat(300_000));
    assert_eq!(send(&world, event).await.status, 413);
}

#[tokio::test]
async fn second_pass_runs_after_the_end_of_the_bucket() {
    let world = World::with([]);
    let mut event = sample("hasura-event-region-wake");
    let began = testing::NOW - jiff::SignedDuration::from_secs(1);
    let body = event["body"]
        .as_str()
        .unwrap()
        .replace("2026-11-21T18:00:00+00:00", &began.to_string());
    event["body"] = json!(body);
    assert_eq!(send(&world, event).await.status, 200);
    assert_eq!(world.items().decisions.len(), 2, "at once, and at the end");
}
