//! The fake GraphQL engine.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};

use super::serve;

pub const TOKEN: &str = "the-function-s-token";
pub const SLOT: &str = "6f1c2b9e-3d0a-4f0e-9a70-2f5d3a1b7c11";

/// A GraphQL engine that gives the queued replies in order, and then assigned slots.
#[derive(Clone, Debug, Default)]
pub struct Hasura {
    pub url: String,
    script: Arc<Mutex<VecDeque<Reply>>>,
    requests: Arc<Mutex<Vec<GraphqlRequest>>>,
}

#[derive(Clone, Debug)]
pub enum Reply {
    Status(u16, String),
    /// A body that is compressed by gzip although nobody requested it.
    Gzip(Vec<u8>),
    Never,
}

#[derive(Clone, Debug)]
pub struct GraphqlRequest {
    pub authorization: Option<String>,
    pub accepted_coding: Option<String>,
    /// The header of AWS X-Ray.
    pub trace: Option<String>,
    pub variables: Value,
}

impl Reply {
    pub fn row(row: &Value) -> Self {
        Self::Status(200, json!({"data": {"assign_slot": [row]}}).to_string())
    }

    pub fn ended(outcome: &str) -> Self {
        let body = json!({"data": {"end_own_session": [{"outcome": outcome}]}});
        Self::Status(200, body.to_string())
    }

    pub fn assigned(region: &str) -> Self {
        Self::row(&json!({
            "outcome": "ASSIGNED", "slot_id": SLOT, "ip_addr": "198.51.100.7", "region": region,
            "instance_id": "i-1", "app_version": "3.1.0", "app_client_sha": "abc",
            "nearest": "us-east-1", "waited_seconds": 0,
        }))
    }

    pub fn refused(outcome: &str) -> Self {
        Self::row(&json!({
            "outcome": outcome, "slot_id": null, "ip_addr": null, "region": null,
            "instance_id": null, "app_version": "3.1.0", "app_client_sha": "abc",
            "nearest": "us-east-1",
        }))
    }

    /// Refuses for lack of capacity.
    pub fn in_line(place: u32, estimate_seconds: Option<u32>) -> Self {
        Self::row(&json!({
            "outcome": "NO_INSTANCE_AVAILABLE", "nearest": "us-east-1", "place": place,
            "estimate_seconds": estimate_seconds, "line_seconds": 15,
        }))
    }
}

impl Hasura {
    pub async fn start() -> Self {
        let mut hasura = Self::default();
        let router = Router::new()
            .route("/v1/graphql", post(Self::answer))
            .with_state(hasura.clone());
        hasura.url = serve(router).await;
        hasura
    }

    async fn answer(
        State(hasura): State<Self>,
        headers: HeaderMap,
        body: String,
    ) -> (StatusCode, HeaderMap, Vec<u8>) {
        let body: Value = serde_json::from_str(&body).unwrap();
        hasura.requests.lock().unwrap().push(GraphqlRequest {
            authorization: headers
                .get(AUTHORIZATION)
                .map(|token| token.to_str().unwrap().to_owned()),
            accepted_coding: headers
                .get(ACCEPT_ENCODING)
                .map(|coding| coding.to_str().unwrap().to_owned()),
            trace: headers
                .get("x-amzn-trace-id")
                .map(|trace| trace.to_str().unwrap().to_owned()),
            variables: body["variables"].clone(),
        });
        let next = hasura.script.lock().unwrap().pop_front();
        match next.unwrap_or_else(|| Reply::assigned("us-east-1")) {
            Reply::Status(status, body) => (
                StatusCode::from_u16(status).unwrap(),
                HeaderMap::new(),
                body.into(),
            ),
            Reply::Gzip(body) => {
                let coding = (CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                (StatusCode::OK, HeaderMap::from_iter([coding]), body)
            }
            Reply::Never => std::future::pending().await,
        }
    }

    pub fn then(&self, reply: Reply) {
        self.script.lock().unwrap().push_back(reply);
    }

    pub fn requests(&self) -> Vec<GraphqlRequest> {
        self.requests.lock().unwrap().clone()
    }
}
