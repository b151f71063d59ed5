//! Requests to the database, and answers to the user.

use std::time::{Duration, Instant};

use assign_user::request::LocalDev;
use serde_json::{Value, json};

use crate::support::{Reply, Request, SLOT, TOKEN, World};

#[tokio::test]
async fn user_with_a_token_gets_a_slot() {
    let world = World::new().await;
    let answer = world.send(&Request::good()).await;
    assert_eq!(answer.status, 200);
    let expected = json!({
        "ip": "198.51.100.7", "mandelbox_id": SLOT, "region": "us-east-1", "error": "",
    });
    assert_eq!(answer.body, expected);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.headers["cache-control"], "no-store");
}

#[tokio::test]
async fn assignment_takes_one_database_request() {
    let world = World::new().await;
    world.send(&Request::good()).await;
    let requests = world.hasura.requests();
    assert_eq!(requests.len(), 1);
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(requests[0].authorization.as_deref(), Some(bearer.as_str()));
    let expected = json!({
        "user_id": "auth0|ada",
        "session_id": "1660000000000",
        "regions": ["us-east-1", "us-west-2"],
        "client_sha": "abc",
        "user_limit": 3,
        "environment": "dev",
        "local_dev": false,
        "max_session_seconds": 0,
        "max_idle_seconds": 0,
    });
    assert_eq!(requests[0].variables, expected);
}

#[tokio::test]
async fn root_path_and_base64_body_are_accepted() {
    use base64::Engine;
    let world = World::new().await;
    let mut request = Request::good();
    request.path = "/";
    request.is_base64 = true;
    request.body = base64::engine::general_purpose::STANDARD.encode(&request.body);
    assert_eq!(world.send(&request).await.status, 200);
}

#[tokio::test]
async fn local_dev_requests_the_current_image_only_outside_production() {
    let mut world = World::new().await;
    let request = Request::good().field("client_commit_hash", "local_dev");
    world.send(&request).await;
    world.function.local_dev = LocalDev::Refused;
    world.send(&request).await;
    let requests: Vec<Value> = world
        .hasura
        .requests()
        .iter()
        .map(|request| request.variables["local_dev"].clone())
        .collect();
    assert_eq!(requests, [json!(true), json!(false)]);
}

#[tokio::test]
async fn refusal_is_a_503_with_its_name() {
    let world = World::new().await;
    for name in [
        "USER_ALREADY_ACTIVE",
        "REGION_NOT_ENABLED",
        "COMMIT_HASH_MISMATCH",
    ] {
        world.hasura.then(Reply::refused(name));
        let answer = world.send(&Request::good()).await;
        assert_eq!(answer.status, 503);
        let expected = json!({"ip": "", "mandelbox_id": "", "region": "", "error": name});
        assert_eq!(answer.body, expected);
    }
}

#[tokio::test]
async fn limits_of_a_session_are_passed_on() {
    let world = World::new().await;
    let request = Request::good()
        .field("max_session_seconds", 3600)
        .field("max_idle_seconds", 600);
    assert_eq!(world.send(&request).await.status, 200);
    let sent = &world.hasura.requests()[0].variables;
    assert_eq!(sent["max_session_seconds"], 3600);
    assert_eq!(sent["max_idle_seconds"], 600);
}

#[tokio::test]
async fn user_with_too_many_slots_is_told_which_sessions_hold_them() {
    let world = World::new().await;
    let held = json!([{"session_id": "17", "region": "us-west-2"}]);
    world.hasura.then(Reply::row(&json!({
        "outcome": "USER_ALREADY_ACTIVE", "held": held,
    })));
    let answer = world.send(&Request::good()).await;
    answer.is(503, "USER_ALREADY_ACTIVE");
    assert_eq!(answer.body["sessions"], held);
}

fn end(path: &'static str) -> Request {
    let mut request = Request::good();
    (request.method, request.path) = ("DELETE", path);
    request.body = String::new();
    request
}

#[tokio::test]
async fn user_ends_an_own_session() {
    let world = World::new().await;
    for (outcome, state) in [("ENDED", "ended"), ("ENDING", "ending")] {
        world.hasura.then(Reply::ended(outcome));
        let answer = world.send(&end("/mandelbox/assign/a%2Fb%20%C3%A9/")).await;
        assert_eq!(answer.status, 200);
        let expected = json!({"session_id": "a/b é", "state": state, "error": ""});
        assert_eq!(answer.body, expected);
    }
    for request in world.hasura.requests() {
        let expected = json!({"user_id": "auth0|ada", "session_id": "a/b é"});
        assert_eq!(request.variables, expected);
    }
}

#[tokio::test]
async fn unknown_session_is_not_found() {
    let world = World::new().await;
    world.hasura.then(Reply::ended("UNKNOWN"));
    let answer = world.send(&end("/mandelbox/assign/17")).await;
    answer.is(404, "NOT_FOUND").says("no such session");
    let anonymous = end("/mandelbox/assign/17").without_header("authorization");
    world.send(&anonymous).await.is(401, "UNAUTHORIZED");
    for path in ["/mandelbox/assign/%00", "/mandelbox/assign/%ff"] {
        world
            .send(&end(path))
            .await
            .is(400, "BAD_REQUEST")
            .says("session");
    }
    world.hasura.then(Reply::ended("OTHER"));
    world
        .send(&end("/mandelbox/assign/17"))
        .await
        .is(503, "SERVICE_UNAVAILABLE");
    assert_eq!(world.hasura.requests().len(), 2);
}

#[tokio::test]
async fn region_without_an_image_is_a_fault_of_the_service() {
    let world = World::new().await;
    world.hasura.then(Reply::refused("NO_IMAGE_SERVED"));
    let answer = world.send(&Request::good()).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.body["error"], "SERVICE_UNAVAILABLE");
}

#[tokio::test]
async fn repeated_request_gets_the_same_slot() {
    let world = World::new().await;
    let repeated = json!({
        "outcome": "ALREADY_ASSIGNED", "slot_id": SLOT, "ip_addr": "198.51.100.7",
        "region": "us-west-2", "instance_id": "i-1", "app_version": null, "app_client_sha": null,
        "nearest": null, "waited_seconds": 0.25,
    });
    world.hasura.then(Reply::row(&repeated));
    let answer = world.send(&Request::good()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["mandelbox_id"], SLOT);
}

#[tokio::test]
async fn lost_database_answer_is_requested_once_more() {
    let world = World::waiting(Duration::from_secs(3)).await;
    for lost in [
        Reply::Status(502, String::new()),
        Reply::Status(200, "<html>".into()),
        Reply::Never,
        // PostgreSQL ended the connection, which Hasura answers with status 200.
        Reply::Status(
            200,
            json!({"errors": [{
                "message": "connection error",
                "extensions": {"path": "$", "code": "postgres-error"},
            }]})
            .to_string(),
        ),
    ] {
        world.hasura.then(lost);
        assert_eq!(world.send(&Request::good()).await.status, 200);
    }
    assert_eq!(world.hasura.requests().len(), 8);
}

#[tokio::test]
async fn unreachable_database_is_a_503() {
    let world = World::new().await;
    let error = |message: &str, code: &str| {
        let error = json!({"message": message, "extensions": {"path": "$", "code": code}});
        Reply::Status(200, json!({"errors": [error]}).to_string())
    };
    // Hasura does not say what it was: it may pass.
    let unexpected = error("database query error", "unexpected");
    let invalid = error("field 'assign_slot' not found", "validation-failed");
    let unknown = json!({"outcome": "SOMETHING_NEW"});
    let incomplete = json!({"outcome": "ASSIGNED", "slot_id": null});
    let nowhere = json!({"outcome": "NO_INSTANCE_AVAILABLE", "place": 0, "line_seconds": 15});
    for (replies, requests) in [
        (
            vec![
                Reply::Status(500, String::new()),
                Reply::Status(500, String::new()),
            ],
            2,
        ),
        (vec![unexpected.clone(), unexpected], 2),
        (vec![invalid], 1),
        (vec![Reply::row(&unknown)], 1),
        (vec![Reply::row(&incomplete)], 1),
        (vec![Reply::row(&nowhere)], 1),
        (
            vec![Reply::Status(
                200,
                json!({"data": {"assign_slot": []}}).to_string(),
            )],
            1,
        ),
    ] {
        let before = world.hasura.requests().len();
        let replies_text = format!("{replies:?}");
        replies
            .into_iter()
            .for_each(|reply| world.hasura.then(reply));
        let answer = world.send(&Request::good()).await;
        answer.is(503, "SERVICE_UNAVAILABLE");
        assert_eq!(answer.body.get("message"), None);
        assert_eq!(
            world.hasura.requests().len() - before,
            requests,
            "{replies_text}"
        );
    }
}

#[tokio::test]
async fn hanging_database_is_a_503_within_the_time_limit() {
    let world = World::waiting(Duration::from_millis(200)).await;
    world.hasura.then(Reply::Never);
    world.hasura.then(Reply::Never);
    let start = Instant::now();
    world
        .send(&Request::good())
        .await
        .is(503, "SERVICE_UNAVAILABLE");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}
