//! Refusals for lack of capacity, and requests that wait for a slot.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use shared::clock::Clock as _;
use testing::Log;
use tracing::Level;

use crate::support::{Answer, Reply, Request, SLOT, World};

/// With requests that may wait for this many seconds.
async fn waiting_for(seconds: u64) -> World {
    let mut world = World::new().await;
    world.function.max_wait = Duration::from_secs(seconds);
    world
}

fn waiting(seconds: u64) -> Request {
    Request::good().field("wait_seconds", seconds)
}

/// The answer to a request, and the seconds that it took on the function's clock.
async fn timed(world: &World, request: &Request) -> (Answer, f64) {
    let began = world.clock.now();
    let answer = world.send(request).await;
    let took = world.clock.now().duration_since(began);
    (answer, took.as_secs_f64())
}

#[tokio::test]
async fn refused_user_learns_the_place_and_when_to_ask_again() {
    let world = World::new().await;
    for (place, estimate) in [(1, Some(4)), (1, None), (87, Some(300)), (1001, None)] {
        world.hasura.then(Reply::in_line(place, estimate));
        let answer = world.send(&Request::good()).await;
        let seconds = answer.body["retry_after_seconds"].as_u64().unwrap();
        let latest = if place == 1 { 2 } else { 10 };
        assert!((1..=latest).contains(&seconds), "{answer:?}");
        assert_eq!(answer.headers["retry-after"], seconds.to_string());
        assert_eq!(answer.status, 503);
        let expected = json!({
            "ip": "", "mandelbox_id": "", "region": "", "error": "NO_INSTANCE_AVAILABLE",
            "place": place, "estimate_seconds": estimate, "retry_after_seconds": seconds,
        });
        assert_eq!(answer.body, expected);
    }
}

#[tokio::test]
async fn other_answers_have_no_place() {
    let world = World::new().await;
    world.hasura.then(Reply::refused("USER_ALREADY_ACTIVE"));
    world.hasura.then(Reply::assigned("us-east-1"));
    for _ in 0..2 {
        let answer = world.send(&Request::good()).await;
        assert!(!answer.headers.contains_key("retry-after"), "{answer:?}");
        assert_eq!(answer.body.as_object().unwrap().len(), 4, "{answer:?}");
    }
}

#[tokio::test]
async fn request_waits_only_as_far_as_the_client_and_the_operator_want() {
    for (limit, asked, seconds) in [
        (0, Some(20), 0.0),
        (20, None, 0.0),
        (20, Some(0), 0.0),
        (20, Some(3), 3.0),
        (2, Some(20), 2.0),
    ] {
        let world = waiting_for(limit).await;
        for _ in 0..10 {
            world.hasura.then(Reply::in_line(1, None));
        }
        let request = asked.map_or_else(Request::good, waiting);
        let (answer, took) = timed(&world, &request).await;
        answer.is(503, "NO_INSTANCE_AVAILABLE");
        assert_eq!(took, seconds, "{limit} {asked:?}");
        // Once a second, the first and the last included.
        assert_eq!(world.hasura.requests().len() as f64, seconds + 1.0);
    }
}

#[tokio::test]
async fn waiting_request_is_answered_as_soon_as_there_is_a_slot() {
    let world = waiting_for(20).await;
    for _ in 0..3 {
        world.hasura.then(Reply::in_line(2, Some(5)));
    }
    let (answer, took) = timed(&world, &waiting(20)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["mandelbox_id"], SLOT);
    assert_eq!(took, 3.0);
    let requests = world.hasura.requests();
    assert_eq!(requests.len(), 4);
    let same = requests[0].variables.clone();
    assert!(requests.iter().all(|request| request.variables == same));
}

#[tokio::test]
async fn user_far_back_is_asked_for_less_often() {
    let world = waiting_for(20).await;
    for _ in 0..20 {
        world.hasura.then(Reply::in_line(1000, None));
    }
    let (_, took) = timed(&world, &waiting(20)).await;
    assert!((19.0..=20.0).contains(&took), "{took}");
    // Each pause has 3 to 10 seconds, but for the last.
    assert!((3..=8).contains(&world.hasura.requests().len()));
}

#[tokio::test]
async fn waiting_ends_at_another_refusal_and_at_a_failure() {
    for (reply, error) in [
        (
            Reply::refused("COMMIT_HASH_MISMATCH"),
            "COMMIT_HASH_MISMATCH",
        ),
        (Reply::row(&json!({"outcome": "?"})), "SERVICE_UNAVAILABLE"),
    ] {
        let world = waiting_for(20).await;
        world.hasura.then(Reply::in_line(1, None));
        world.hasura.then(reply);
        let (answer, took) = timed(&world, &waiting(20)).await;
        answer.is(503, error);
        assert_eq!(took, 1.0);
    }
}

#[tokio::test]
async fn waiting_ends_in_time_for_the_answer() {
    for (left, took) in [(30, 20), (17, 10), (8, 1), (7, 0), (0, 0), (-5, 0)] {
        let world = waiting_for(20).await;
        for _ in 0..30 {
            world.hasura.then(Reply::in_line(1, None));
        }
        let began = world.clock.now();
        let deadline = began + SignedDuration::from_secs(left);
        let answer = world.function.handle(waiting(20).event(), deadline).await;
        Answer::read(&answer).is(503, "NO_INSTANCE_AVAILABLE");
        assert_eq!(
            world.clock.now().duration_since(began).as_secs(),
            took,
            "{left}"
        );
    }
    // A runtime that names no deadline.
    let world = waiting_for(20).await;
    world.hasura.then(Reply::in_line(1, None));
    let answer = world
        .function
        .handle(waiting(20).event(), Timestamp::UNIX_EPOCH)
        .await;
    Answer::read(&answer).is(503, "NO_INSTANCE_AVAILABLE");
    assert_eq!(world.hasura.requests().len(), 1);
}

#[tokio::test]
async fn log_has_the_place_of_a_refused_user_and_the_wait_of_a_served_one() {
    let world = waiting_for(20).await;
    let log = Log::start(Level::TRACE);
    world.hasura.then(Reply::in_line(3, Some(17)));
    world.send(&Request::good()).await;
    log.says(&["assignment refused", "place=3", "estimate_seconds=17"]);

    world.hasura.then(Reply::in_line(2, None));
    world.hasura.then(Reply::row(&json!({
        "outcome": "ASSIGNED", "slot_id": SLOT, "ip_addr": "198.51.100.7", "region": "us-east-1",
        "instance_id": "i-1", "nearest": "us-east-1", "waited_seconds": 12.5,
    })));
    let log = Log::start(Level::TRACE);
    world.send(&waiting(20)).await;
    log.says(&["slot assigned", "waited_seconds=12.5"]);
    // One line for each request, not for each question.
    assert!(!log.text().contains("assignment refused"), "{}", log.text());
}
