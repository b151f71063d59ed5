//! Paths, methods, sizes, fields and origins.

use assign_user::cors::AllowedOrigins;
use serde_json::{Value, json};

use crate::support::{Request, World};

#[tokio::test]
async fn unknown_path_is_not_found() {
    let world = World::new().await;
    for path in [
        "/mandelbox",
        "/mandelbox/assign/x/y",
        "/mandelbox/assignx",
        "/status",
        "//",
        "/MANDELBOX/ASSIGN",
    ] {
        let mut request = Request::good();
        request.path = path;
        world.send(&request).await.is(404, "NOT_FOUND");
    }
    let mut request = Request::good();
    request.path = "/mandelbox/assign/";
    assert_eq!(world.send(&request).await.status, 200);
}

#[tokio::test]
async fn other_method_is_rejected_with_the_allowed_ones() {
    let world = World::new().await;
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "post", ""] {
        let mut request = Request::good();
        request.method = method;
        let answer = world.send(&request).await;
        answer.is(405, "METHOD_NOT_ALLOWED");
        assert_eq!(answer.headers["allow"], "POST, OPTIONS");
    }
    for method in ["GET", "POST", "PUT", "delete"] {
        let mut request = Request::good();
        request.path = "/mandelbox/assign/17";
        request.method = method;
        let answer = world.send(&request).await;
        answer.is(405, "METHOD_NOT_ALLOWED");
        assert_eq!(answer.headers["allow"], "DELETE, OPTIONS");
    }
}

#[tokio::test]
async fn oversized_body_is_rejected_before_any_request() {
    let world = World::new().await;
    let request = Request::good().field("version", "x".repeat(64 * 1024));
    world
        .send(&request)
        .await
        .is(413, "PAYLOAD_TOO_LARGE")
        .says("65536 bytes");
    assert_eq!(world.provider.fetches(), 0);
    assert!(world.hasura.requests().is_empty());
}

#[tokio::test]
async fn invalid_body_is_rejected_with_its_field() {
    let world = World::new().await;
    let fields: [(&str, Value); 20] = [
        ("max_session_seconds", json!(0)),
        ("max_session_seconds", json!(31_536_001)),
        ("max_session_seconds", json!("60")),
        ("max_idle_seconds", json!(1.5)),
        ("max_idle_seconds", json!(-60)),
        ("regions", Value::Null),
        ("regions", json!([])),
        ("regions", json!("us-east-1")),
        ("client_commit_hash", Value::Null),
        ("client_commit_hash", json!(1)),
        ("session_id", Value::Null),
        ("session_id", json!(1.5)),
        ("user_email", json!(["a"])),
        ("version", json!(3)),
        ("wait_seconds", json!(21)),
        ("wait_seconds", json!(-1)),
        ("wait_seconds", json!(1.5)),
        ("wait_seconds", json!("5")),
        ("wait_seconds", json!(true)),
        ("wait_seconds", json!([])),
    ];
    for (field, value) in fields {
        let answer = world.send(&Request::good().field(field, value)).await;
        answer
            .is(400, "BAD_REQUEST")
            .says(&format!("field `{field}`"));
    }
    for (body, why) in [
        ("", "empty"),
        ("{", "not valid JSON"),
        ("[]", "must be a JSON object"),
    ] {
        let mut request = Request::good();
        request.body = body.to_owned();
        world.send(&request).await.is(400, "BAD_REQUEST").says(why);
    }
    let mut request = Request::good();
    request.is_base64 = true;
    world
        .send(&request)
        .await
        .is(400, "BAD_REQUEST")
        .says("base64");
    assert!(world.hasura.requests().is_empty());
}

#[tokio::test]
async fn body_is_checked_only_for_authenticated_users() {
    let world = World::new().await;
    let mut request = Request::good().without_header("authorization");
    request.body = "{".to_owned();
    world.send(&request).await.is(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn preflight_needs_no_token() {
    let world = World::new().await;
    let mut request = Request::good()
        .without_header("authorization")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type",
        );
    request.method = "OPTIONS";
    request.body = String::new();
    let answer = world.send(&request).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.body, Value::Null);
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    assert_eq!(
        answer.headers["access-control-allow-methods"],
        "POST, DELETE"
    );
    assert_eq!(
        answer.headers["access-control-allow-headers"],
        "authorization, content-type"
    );
    assert!(answer.headers.contains_key("access-control-max-age"));
    assert_eq!(answer.headers["allow"], "POST, OPTIONS");
}

#[tokio::test]
async fn errors_have_the_headers_for_pages() {
    let world = World::new().await;
    let request = Request::good().header("origin", "https://app.example");
    let mut elsewhere = request.clone();
    elsewhere.path = "/elsewhere";
    for request in [
        &request,
        &request.clone().without_header("authorization"),
        &elsewhere,
    ] {
        let answer = world.send(request).await;
        assert_eq!(
            answer.headers["access-control-allow-origin"], "*",
            "{answer:?}"
        );
        assert_eq!(
            answer.headers["access-control-expose-headers"], "retry-after",
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn origin_that_is_not_listed_is_rejected() {
    let mut world = World::new().await;
    world.function.origins = AllowedOrigins::parse("https://app.example").unwrap();
    let ours = Request::good().header("origin", "https://app.example");
    let answer = world.send(&ours).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.headers["access-control-allow-origin"],
        "https://app.example"
    );
    assert_eq!(answer.headers["vary"], "origin");
    assert_eq!(world.send(&Request::good()).await.status, 200);

    let requests = world.hasura.requests().len();
    for method in ["POST", "OPTIONS"] {
        let mut theirs = Request::good().header("origin", "https://evil.example");
        theirs.method = method;
        let answer = world.send(&theirs).await;
        answer.is(403, "FORBIDDEN").says("origin");
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
    assert_eq!(world.hasura.requests().len(), requests);
}
