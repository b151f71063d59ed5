//! Paths, methods, bodies and fields, over real HTTP.

use reqwest::{Method, RequestBuilder};
use scaling_tests::deployed::{Answer, Deployed};
use serde_json::json;

use crate::{SOUND, ask, ask_with, assert_refused};

const ASSIGN: &str = "mandelbox/assign";

pub(crate) async fn wrong_requests_are_answered_with_the_reason(deployed: &Deployed) {
    other_paths_and_methods(deployed).await;
    wrong_bodies(deployed).await;
    wrong_fields(deployed).await;
    let taken = "SELECT count(*) FROM slots WHERE user_id IS NOT NULL";
    assert_eq!(deployed.count(taken).await, 0, "none of them took a slot");
}

fn as_user(deployed: &Deployed, method: Method, path: &str) -> RequestBuilder {
    let request = deployed.request(method, path);
    request.bearer_auth(deployed.token("requests"))
}

async fn other_paths_and_methods(deployed: &Deployed) {
    for path in [
        "mandelbox",
        "mandelbox/assign/1/2",
        "MANDELBOX/ASSIGN",
        "status",
    ] {
        let request = as_user(deployed, Method::POST, path).json(&ask(1));
        let answer = Answer::of(request).await;
        assert_refused(path, &answer, 404, "NOT_FOUND", "/mandelbox/assign");
    }
    for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
        let answer = Answer::of(as_user(deployed, method.clone(), ASSIGN)).await;
        assert_refused(method.as_str(), &answer, 405, "METHOD_NOT_ALLOWED", "POST");
        assert_eq!(answer.headers["allow"], "POST, OPTIONS");
    }
    let session = as_user(deployed, Method::POST, "mandelbox/assign/1").json(&ask(1));
    let answer = Answer::of(session).await;
    assert_refused("a session", &answer, 405, "METHOD_NOT_ALLOWED", "DELETE");
    assert_eq!(answer.headers["allow"], "DELETE, OPTIONS");
}

async fn wrong_bodies(deployed: &Deployed) {
    let nested = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    let trailing = format!("{}}}", ask(1));
    let bodies: [(&str, Vec<u8>, &str); 9] = [
        ("nothing", vec![], "empty"),
        ("no JSON", b"{\"regions\":[".to_vec(), "line 1 column 12"),
        ("two documents", trailing.into_bytes(), "not valid JSON"),
        (
            "no UTF-8",
            b"{\"regions\":\"\xff\"}".to_vec(),
            "not valid JSON",
        ),
        (
            "half a character",
            br#"{"session_id":"\ud800"}"#.to_vec(),
            "not valid JSON",
        ),
        ("too deep", nested.into_bytes(), "recursion limit"),
        ("null", b"null".to_vec(), "JSON object"),
        ("a list", b"[]".to_vec(), "JSON object"),
        ("a string", br#""{}""#.to_vec(), "JSON object"),
    ];
    for (what, body, says) in bodies {
        // The gateway encodes a body in base64 unless its type is a text type.
        let request = as_user(deployed, Method::POST, ASSIGN)
            .header("content-type", "application/octet-stream")
            .body(body);
        let answer = Answer::of(request).await;
        assert_refused(what, &answer, 400, "BAD_REQUEST", says);
    }
    let large = ask_with("version", "x".repeat(64 * 1024));
    let request = as_user(deployed, Method::POST, ASSIGN).json(&large);
    let answer = Answer::of(request).await;
    assert_refused("a large body", &answer, 413, "PAYLOAD_TOO_LARGE", "65536");
}

async fn wrong_fields(deployed: &Deployed) {
    for field in ["regions", "client_commit_hash", "session_id"] {
        let mut body = ask(1);
        body.as_object_mut().map(|body| body.remove(field));
        let says = format!("field `{field}` is missing");
        let answer = deployed.assign("requests", &body).await;
        assert_refused(field, &answer, 400, "BAD_REQUEST", &says);
    }
    let wrong = [
        ("regions", json!(SOUND)),
        ("regions", json!([])),
        ("regions", json!([1])),
        ("regions", json!([""])),
        ("regions", json!(["us-east-1\u{0}"])),
        ("regions", json!(vec![SOUND; 65])),
        ("client_commit_hash", json!(7)),
        ("client_commit_hash", json!("")),
        ("client_commit_hash", json!("a\nb")),
        ("client_commit_hash", json!("x".repeat(129))),
        ("session_id", json!(1.5)),
        ("session_id", json!(true)),
        ("session_id", json!("")),
        ("session_id", json!("a\r\nb")),
        ("session_id", json!("x".repeat(256))),
        ("user_email", json!({"address": "somebody@example.com"})),
        ("version", json!(1)),
    ];
    for (field, value) in wrong {
        let what = format!("{field}: {value}");
        let answer = deployed.assign("requests", &ask_with(field, value)).await;
        let says = format!("field `{field}` must be");
        assert_refused(&what, &answer, 400, "BAD_REQUEST", &says);
    }
}
