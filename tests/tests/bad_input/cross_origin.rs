//! Cross-origin requests: the function answers them itself, so the gateway must not add its own
//! headers.

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use scaling_tests::deployed::{Answer, Deployed};

use crate::ask;

pub(crate) async fn browsers_may_call_and_read_every_answer(deployed: &Deployed) {
    let preflight = from_page(deployed, Method::OPTIONS, "mandelbox/assign")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type",
        );
    let answer = Answer::of(preflight).await;
    assert_eq!(answer.status, 204, "{answer:#?}");
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "POST, DELETE"),
        (
            "access-control-allow-headers",
            "authorization, content-type",
        ),
        ("access-control-max-age", "7200"),
    ] {
        assert_once(&answer.headers, name, value);
    }

    // A page that may not read an error only sees that something failed.
    let path = "mandelbox/assign";
    let large = "x".repeat(70_000);
    let errors = [
        (401, from_page(deployed, Method::POST, path).json(&ask(1))),
        (404, from_page(deployed, Method::POST, "elsewhere")),
        (405, from_page(deployed, Method::GET, path)),
        (413, from_page(deployed, Method::POST, path).body(large)),
    ];
    for (status, request) in errors {
        let answer = Answer::of(request).await;
        assert_eq!(answer.status, status, "{answer:#?}");
        assert_once(&answer.headers, "access-control-allow-origin", "*");
        assert_once(&answer.headers, "content-type", "application/json");
        assert_once(&answer.headers, "cache-control", "no-store");
    }
}

fn from_page(deployed: &Deployed, method: Method, path: &str) -> RequestBuilder {
    let request = deployed.request(method, path);
    request.header("origin", "https://app.example")
}

/// Browsers reject an answer that has the header twice.
#[track_caller]
fn assert_once(headers: &HeaderMap, name: &str, value: &str) {
    let values: Vec<_> = headers.get_all(name).iter().collect();
    assert_eq!(values, [value], "{name}");
}
