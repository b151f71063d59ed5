//! The fake GraphQL engine.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};

use super::serve;

pub const ADMIN_SECRET: &str = "the-admin-secret";
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
    Never,
}

#[derive(Clone, Debug)]
pub struct GraphqlRequest {
    pub admin_secret: Option<String>,
    pub variables: Value,
}

impl Reply {
    pub fn row(row: &Value) -> Self {
        Self::Status(200, json!({"data": {"assign_slot": [row]}}).to_string())
    }

    pub fn assigned(region: &str) -> Self {
        Self::row(&json!({
            "outcome": "ASSIGNED", "slot_id": SLOT, "ip_addr": "198.51.100.7", "region": region,
            "instance_id": "i-1", "app_version": "3.1.0", "app_client_sha": "abc",
        }))
    }

    pub fn refused(outcome: &str) -> Self {
        Self::row(&json!({
            "outcome": outcome, "slot_id": null, "ip_addr": null, "region": null,
            "instance_id": null, "app_version": "3.1.0", "app_client_sha": "abc",
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
    ) -> (StatusCode, String) {
        let body: Value = serde_json::from_str(&body).unwrap();
        hasura.requests.lock().unwrap().push(GraphqlRequest {
            admin_secret: headers
                .get("x-hasura-admin-secret")
                .map(|secret| secret.to_str().unwrap().to_owned()),
            variables: body["variables"].clone(),
        });
        let next = hasura.script.lock().unwrap().pop_front();
        match next.unwrap_or_else(|| Reply::assigned("us-east-1")) {
            Reply::Status(status, body) => (StatusCode::from_u16(status).unwrap(), body),
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
