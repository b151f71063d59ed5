//! One event of the database refills a low buffer. Faults of other events, and requests that are
//! not events, change nothing.

use std::fs;
use std::time::{Duration, Instant};

use local_stack::project;
use reqwest::{Method, StatusCode};
use scaling_tests::deployed::{Deployed, SOON};
use scaling_tests::region::Region;
use scaling_tests::wait::eventually;
use serde_json::{Value, json};

use crate::agents::leave_alone;
use crate::world::{EVENTS, filled};

const TARGET: usize = 3;
const CAPACITY: usize = 2;

/// Well below the minute of the schedule, and long enough for a busy machine.
const SECONDS: Duration = Duration::from_secs(50);

pub(crate) async fn refill_the_buffer_under_any_delivery(deployed: &Deployed) {
    let settings = json!({"target_free": TARGET, "max_instances": 10});
    let region = filled(deployed, EVENTS, CAPACITY as u32, settings).await;
    one_wake_fills_a_low_buffer(&region).await;
    disturbed_events_launch_only_what_is_missing(&region).await;
    repeated_events_start_no_pass(&region).await;
    events_without_cause_change_nothing(&region).await;
    malformed_events_are_rejected(&region).await;
    region.assert_invariants().await;
    leave_alone(&region).await;
}

const WAKES: &str = "SELECT count(*) FROM region_wakeups WHERE region = $1";

async fn one_wake_fills_a_low_buffer(region: &Region<'_>) {
    let deployed = region.deployed;
    let (last_delivery, passes) = (deployed.last_delivery().await, region.lock_version().await);
    region.assigned("ann").await;
    assert_eq!(region.free().await, TARGET as i64);
    assert_eq!(region.count(WAKES).await, 0, "the buffer is not low yet");

    region.assigned("bob").await;
    let low = Instant::now();
    assert_eq!(region.count(WAKES).await, 1, "the buffer is low");
    let launches = async || region.calls("RunInstances").await.len();
    eventually("the launch", SOON, launches, |launches| *launches == 3).await;
    let launched = low.elapsed();
    region.filled_to(2 * CAPACITY as i64).await;
    println!(
        "   low to launched {launched:.1?}, to filled {:.1?}",
        low.elapsed()
    );
    assert!(low.elapsed() < SECONDS, "{:?}", low.elapsed());

    region.wait_until_settled_by_events().await;
    assert_eq!(region.count(WAKES).await, 1, "one wake-up is enough");
    let deliveries = deployed.deliveries("region_wake", last_delivery).await;
    let statuses: Vec<_> = deliveries.iter().map(|it| &it["status"]).collect();
    assert_eq!(statuses, [&json!(200)], "{deliveries:#?}");
    // At once, and again at the end of the two-second bucket unless it was already over.
    let rounds = region.lock_version().await - passes;
    assert!((1..=2).contains(&rounds), "{rounds} rounds");
    assert_launched_as_needed(region, 2).await;
}

/// Asserts that every launch since the beginning was for a missing slot: each of `users` has one
/// slot, and nothing was removed.
async fn assert_launched_as_needed(region: &Region<'_>, users: usize) {
    let needed = (TARGET + users).div_ceil(CAPACITY);
    let launched = region.launched().await.len();
    assert_eq!(launched, needed, "launched for {users} users");
    assert_eq!(region.machines().await.len(), needed);
}

async fn disturbed_events_launch_only_what_is_missing(region: &Region<'_>) {
    let disturbances = [
        json!({"duplicate": {"copies": 2}}),
        // When the bucket is over.
        json!({"duplicate": {"copies": 1, "after_ms": 2500}}),
        json!({"delay": {"ms": 2500}}),
        json!({"reorder": {"window": 2, "within_ms": 5000}}),
    ];
    let mut users = 2;
    for disturbance in disturbances {
        let rules = json!({"seed": 1, "rules": [{"action": disturbance}]});
        region
            .deployed
            .control_events("PUT", "faults", &rules)
            .await;
        let wakes = region.count(WAKES).await;
        // Each in a bucket of its own, so that there are several events.
        for user in ["first", "second", "third"] {
            next_bucket(region).await;
            region.assigned(&format!("{user}-{users}")).await;
        }
        users += 3;
        region.wait_until_settled_by_events().await;
        assert!(region.count(WAKES).await > wakes, "{disturbance}");
        assert_launched_as_needed(region, users).await;
    }
    region
        .deployed
        .control_events("PUT", "faults", &json!({}))
        .await;
}

/// Waits for the next bucket, in which a wake-up makes a new event.
async fn next_bucket(region: &Region<'_>) {
    let taken = "SELECT count(*) FROM region_wakeups
                 WHERE region = $1 AND bucket = date_bin('2 seconds', now(), 'epoch')";
    let taken = async || region.count(taken).await;
    eventually("another bucket", SOON, taken, |taken| *taken == 0).await;
}

/// Everything that an event could change.
async fn state(region: &Region<'_>) -> Value {
    let rows = async |table: &str, of: &str| -> Value {
        let sql = format!(
            "SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY to_jsonb(t)::text), '[]')
             FROM {table} t WHERE {of} = $1"
        );
        let row = region.deployed.sql.query_one(&sql, &[&region.name]).await;
        row.expect(table).get(0)
    };
    let machines = region.launched().await;
    let machines: Vec<_> = machines.iter().map(|it| (&it.id, &it.state)).collect();
    json!({
        "regions": rows("regions", "name").await,
        "images": rows("images", "region").await,
        "instances": rows("instances", "region").await,
        "slots": rows("slots", "region").await,
        "waiting_users": rows("waiting_users", "region").await,
        "machines": machines,
        "launches": region.calls("RunInstances").await.len(),
        "terminations": region.calls("TerminateInstances").await.len(),
        "keys": region.deployed.region_state(region.name).await,
    })
}

/// Posts to the function's URL as Hasura does, with the right secret.
async fn post(deployed: &Deployed, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
    let secret = &deployed.stack.env().hasura_event_secret;
    send(deployed, Method::POST, secret, body.into()).await
}

async fn send(
    deployed: &Deployed,
    method: Method,
    secret: &str,
    body: reqwest::Body,
) -> (StatusCode, Value) {
    let url = deployed.stack.env().hasura_event_url.as_deref();
    let answer = reqwest::Client::new()
        .request(method, url.expect("the function has a URL"))
        .header("content-type", "application/json")
        .header("x-event-secret", secret)
        .body(body)
        .send()
        .await
        .expect("hasura-event answers");
    (answer.status(), answer.json().await.expect("JSON"))
}

async fn repeated_events_start_no_pass(region: &Region<'_>) {
    let sql = "SELECT id, payload FROM local_events.event_log WHERE trigger_name = 'region_wake'";
    let events = region.deployed.sql.query(sql, &[]).await.expect(sql);
    assert!(events.len() >= 5, "{} events", events.len());
    let (before, passes) = (state(region).await, region.lock_version().await);
    for event in events {
        let (id, change): (String, Value) = (event.get(0), event.get(1));
        let again = json!({"id": id, "trigger": {"name": "region_wake"}, "event": change});
        let (status, answer) = post(region.deployed, again.to_string()).await;
        assert_eq!(status, 200, "{answer:#}");
        assert_eq!(answer["ignored"], "seen before", "{answer:#}");
    }
    assert_eq!(region.lock_version().await, passes, "no pass");
    assert_eq!(state(region).await, before);
}

/// Well-formed events without any cause: each causes a pass at most.
async fn events_without_cause_change_nothing(region: &Region<'_>) {
    let before = state(region).await;
    let wake = |bucket: Value| json!({"op": "INSERT", "data": {"new": {"region": EVENTS, "bucket": bucket}}});
    let draining = json!({"region": EVENTS, "id": "i-0", "status": "DRAINING"});
    let version = json!({"environment": "elsewhere", "version": "9", "client_sha": "9"});
    let events = [
        ("region_wake", wake(json!("1970-01-01T00:00:00+00:00")), 1),
        ("region_wake", wake(json!("2100-01-01T00:00:00+00:00")), 1),
        ("region_wake", wake(json!("soon")), 1),
        ("region_wake", wake(Value::Null), 1),
        (
            "instance_status_changed",
            json!({"op": "UPDATE", "data": {"old": null, "new": draining}}),
            1,
        ),
        (
            "instance_status_changed",
            json!({"op": "DELETE", "data": {"old": draining, "new": null}}),
            0,
        ),
        (
            "app_version_changed",
            json!({"op": "INSERT", "data": {"new": version}}),
            0,
        ),
        ("somebody_elses", wake(Value::Null), 0),
    ];
    for (number, (trigger, change, passes)) in events.into_iter().enumerate() {
        let began = region.lock_version().await;
        let id = format!("made-up-{number}");
        let event = json!({"id": id, "trigger": {"name": trigger}, "event": change});
        let (status, answer) = post(region.deployed, event.to_string()).await;
        assert_eq!(status, 200, "{event}: {answer:#}");
        assert_eq!(region.lock_version().await - began, passes, "{event}");
    }
    assert_eq!(state(region).await, before);
}

async fn malformed_events_are_rejected(region: &Region<'_>) {
    let deployed = region.deployed;
    let (before, passes) = (state(region).await, region.lock_version().await);
    let folder = project::root().join("events/malformed");
    let mut samples = 0;
    for entry in fs::read_dir(&folder).expect("samples") {
        let path = entry.expect("a sample").path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap();
        if !name.starts_with("hasura-event-") {
            continue;
        }
        let text = fs::read_to_string(&path).expect(name);
        let sample: Value = serde_json::from_str(&text).expect(name);
        let method = sample["requestContext"]["http"]["method"].as_str().unwrap();
        let secret = match sample["headers"]["x-event-secret"].as_str() {
            Some(_) => deployed.stack.env().hasura_event_secret.as_str(),
            None => "",
        };
        let body = sample["body"].as_str().unwrap().to_owned();
        let method = method.parse().expect("a method");
        let (status, answer) = send(deployed, method, secret, body.into()).await;
        assert!(status.is_client_error(), "{name}: {status} {answer:#}");
        samples += 1;
    }
    assert!(samples >= 5, "{samples} samples");

    let new = json!({"region": EVENTS, "bucket": "2026-11-21T18:00:00+00:00"});
    let sound = json!({
        "id": "sound",
        "trigger": {"name": "region_wake"},
        "event": {"op": "INSERT", "data": {"old": null, "new": new}},
    });
    let wrong = [
        ("/id", Value::Null),
        ("/id", json!("")),
        ("/id", json!("x".repeat(201))),
        ("/trigger", json!("region_wake")),
        ("/trigger/name", json!("")),
        ("/event/op", json!(1)),
        ("/event/data", json!([])),
        ("/event/data/new", Value::Null),
        ("/event/data/new", json!("a row")),
        ("/event/data/new/region", json!(7)),
        ("/event/data/new/region", Value::Null),
    ];
    for (field, value) in wrong {
        let mut event = sound.clone();
        *event.pointer_mut(field).expect("a field") = value;
        let (status, answer) = post(deployed, event.to_string()).await;
        assert_eq!(status, 400, "{event}: {answer:#}");
    }
    let mut large = sound.clone();
    large["padding"] = json!("x".repeat(300_000));
    assert_eq!(post(deployed, large.to_string()).await.0, 413);
    assert_eq!(post(deployed, "").await.0, 400);
    assert_eq!(post(deployed, vec![0xff; 100]).await.0, 400);
    let guessed = send(deployed, Method::POST, "guessed", sound.to_string().into()).await;
    assert_eq!(guessed.0, 401, "{}", guessed.1);

    assert_eq!(region.lock_version().await, passes, "no pass");
    assert_eq!(state(region).await, before);
}
