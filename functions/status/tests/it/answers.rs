//! Access, methods, headers and errors.

use shared::db::DbError;

use crate::support::{TOKEN, World, basic, request};

const ROUTES: [&str; 4] = [
    "/",
    "/regions/us-east-1",
    "/decisions/us-east-1/1",
    "/healthz",
];

#[tokio::test]
async fn every_route_answers_with_the_token() {
    for path in ROUTES {
        let bearer = format!("Bearer {TOKEN}");
        for header in [bearer, basic(&format!("anybody:{TOKEN}"))] {
            let world = World::decided(10);
            let answer = world.send(request("GET", path, Some(&header))).await;
            assert_eq!(answer.status, 200, "{path}: {answer:#?}");
            assert_eq!(answer.headers["content-type"], "application/json");
        }
    }
}

#[tokio::test]
async fn request_without_token_gets_health_only_and_reads_nothing() {
    let wrong = [
        None,
        Some("Bearer wrong".to_owned()),
        Some(basic("anybody:wrong")),
        Some(basic(&format!("{TOKEN}:"))),
        Some(format!("Digest {TOKEN}")),
    ];
    for path in [
        "/",
        "/regions/us-east-1",
        "/decisions/us-east-1/1",
        "/nothing",
        "/healthz/x",
    ] {
        for header in &wrong {
            let world = World::decided(10);
            let answer = world.send(request("GET", path, header.as_deref())).await;
            assert_eq!(answer.status, 401, "{path} {header:?}: {answer:#?}");
            assert_eq!(answer.body["error"], "UNAUTHORIZED");
            let challenges = answer.headers["www-authenticate"].to_str().unwrap();
            assert!(challenges.starts_with("Basic realm="), "{challenges}");
            assert!(challenges.contains("Bearer realm="), "{challenges}");
            assert_eq!(world.requests(), (0, 0), "{path} {header:?}");
        }
    }
    for header in &wrong {
        let answer = World::decided(10)
            .send(request("GET", "/healthz", header.as_deref()))
            .await;
        assert_eq!(answer.status, 200, "{answer:#?}");
        assert_eq!(answer.body, serde_json::json!({"status": 1}), "no details");
    }
}

#[tokio::test]
async fn unknown_path_names_the_known_ones() {
    let cases = [
        (
            "/nothing",
            404,
            "GET /, /healthz, /metrics, /doctor, /regions",
        ),
        ("/regions/us-east-9", 404, "no region us-east-9"),
        ("/regions/us-east-1?before=x", 400, "`before`"),
        ("/decisions/us-east-1/77", 404, "no decision us-east-1/77"),
        ("/decisions/us-east-1", 404, "/decisions/REGION/VERSION"),
    ];
    for (path, status, says) in cases {
        let answer = World::decided(10).get(path).await;
        assert_eq!(answer.status, status, "{path}: {answer:#?}");
        let message = answer.body["message"].as_str().unwrap();
        assert!(message.contains(says), "{path}: {message}");
    }
}

#[tokio::test]
async fn other_methods_are_rejected() {
    let token = format!("Bearer {TOKEN}");
    for path in ROUTES {
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", ""] {
            let world = World::decided(10);
            let answer = world.send(request(method, path, Some(&token))).await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.headers["allow"], "GET, HEAD");
            assert_eq!(world.requests(), (0, 0));
        }
        let world = World::decided(10);
        let head = world.send(request("HEAD", path, Some(&token))).await;
        assert_eq!(head.status, 200, "{path}");
        assert!(head.body.is_null(), "{head:#?}");
        assert_eq!(head.headers, world.get(path).await.headers);
    }
}

#[tokio::test]
async fn answers_are_neither_cached_nor_framed() {
    let world = World::decided(10);
    for event in [
        request("GET", "/", None),
        request("GET", "/healthz", None),
        request("GET", "/", Some(&format!("Bearer {TOKEN}"))),
        serde_json::json!({"not": "a request"}),
    ] {
        let headers = world.send(event).await.headers;
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    }
}

#[tokio::test]
async fn unreadable_database_or_dynamodb_is_a_503_without_details() {
    for path in ["/", "/healthz", "/regions/us-east-1"] {
        let world = World::decided(10);
        world.overview.state().next_error = Some(DbError::Unavailable {
            operation: "look",
            reason: "hasura.internal refused".to_owned(),
        });
        unavailable(&world, path).await;
    }
    for (path, call) in [
        ("/healthz", "decided_at"),
        ("/regions/us-east-1", "records"),
        ("/regions/us-east-1", "decisions"),
        ("/decisions/us-east-1/1", "decision"),
    ] {
        let world = World::decided(10);
        world.fail(call);
        unavailable(&world, path).await;
    }
}

async fn unavailable(world: &World, path: &str) {
    let answer = world.get(path).await;
    assert_eq!(answer.status, 503, "{path}: {answer:#?}");
    let body = serde_json::json!({"status": 0, "error": "SERVICE_UNAVAILABLE"});
    assert_eq!(answer.body, body, "{path}");
}
