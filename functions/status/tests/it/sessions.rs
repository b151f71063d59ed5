//! When a browser's session ends, for whoever has its cookie.

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::{Answer, TOKEN, World, request};

const PATHS: [&str; 4] = [
    "/",
    "/regions/us-east-1",
    "/decisions/us-east-1/1",
    "/doctor",
];

fn with(cookie: &str, method: &str, path: &str) -> Value {
    let mut event = request(method, path, None);
    event["cookies"] = json!([cookie]);
    event
}

async fn get(world: &World, cookie: &str, path: &str) -> Answer {
    world.send(with(cookie, "GET", path)).await
}

#[tokio::test]
async fn logging_out_ends_the_session_for_every_copy_of_the_cookie() {
    let world = World::decided(10);
    let (cookie, other) = (world.session().await, world.session().await);
    assert_ne!(cookie, other);
    for path in PATHS {
        assert_eq!(get(&world, &cookie, path).await.status, 200, "{path}");
    }
    let answer = world.send(with(&cookie, "POST", "/logout")).await;
    assert_eq!(answer.status, 303);
    assert!(answer.cookies[0].contains("Max-Age=0"), "{answer:#?}");
    for path in PATHS {
        let answer = get(&world, &cookie, path).await;
        assert_eq!(answer.status, 401, "{path}");
        // Another browser stays logged in.
        assert_eq!(get(&world, &other, path).await.status, 200, "{path}");
    }
    // The record is kept as long as the session would have lasted.
    let until = world.function.clock.now() + SignedDuration::from_hours(12);
    let ended: Vec<_> = world
        .store
        .items()
        .ended_sessions
        .values()
        .copied()
        .collect();
    assert_eq!(ended, [until]);
    world.clock.advance(SignedDuration::from_hours(11));
    assert_eq!(get(&world, &cookie, "/").await.status, 401);
    // The token itself still gives access.
    assert_eq!(world.get("/").await.status, 200);
}

#[tokio::test]
async fn logging_out_without_a_session_writes_and_clears_nothing() {
    let world = World::decided(10);
    let cookie = world.session().await;
    let forged = format!("{cookie}x");
    let token = format!("Bearer {TOKEN}");
    let mut from_elsewhere = with(&cookie, "POST", "/logout");
    from_elsewhere["headers"]["sec-fetch-site"] = json!("same-site");
    let mut cross_site = with(&cookie, "POST", "/logout");
    cross_site["headers"]["sec-fetch-site"] = json!("cross-site");
    for event in [
        request("POST", "/logout", None),
        request("POST", "/logout", Some(&token)),
        with(&forged, "POST", "/logout"),
        from_elsewhere,
        cross_site,
    ] {
        let answer = world.send(event).await;
        assert_eq!(answer.status, 303);
        assert_eq!(answer.cookies, [""; 0]);
    }
    assert!(world.store.items().ended_sessions.is_empty());
    assert_eq!(get(&world, &cookie, "/").await.status, 200);
    let mut from_here = with(&cookie, "POST", "/logout");
    from_here["headers"]["sec-fetch-site"] = json!("same-origin");
    world.send(from_here).await;
    assert_eq!(get(&world, &cookie, "/").await.status, 401);
}

#[tokio::test]
async fn forged_cookie_reads_nothing() {
    let world = World::decided(10);
    let cookie = format!("{}x", world.session().await);
    for path in PATHS {
        assert_eq!(get(&world, &cookie, path).await.status, 401, "{path}");
    }
    assert_eq!(world.requests(), (0, 0));
}

/// Whether it has ended is not known then, and unknown is not "no".
#[tokio::test]
async fn session_is_not_accepted_while_dynamodb_cannot_be_read() {
    let world = World::decided(10);
    let cookie = world.session().await;
    world.fail("is_ended");
    let answer = get(&world, &cookie, "/").await;
    assert_eq!(answer.status, 503);
    assert_eq!(world.requests().0, 0, "nothing is read for it");
    assert_eq!(get(&world, &cookie, "/").await.status, 200);

    // A log-out that fails says so, and the browser keeps its cookie to try again.
    world.fail("end_session");
    let answer = world.send(with(&cookie, "POST", "/logout")).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.cookies, [""; 0]);
    assert_eq!(get(&world, &cookie, "/").await.status, 200);
}
