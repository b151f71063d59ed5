//! Serves a JSON web key set, as the users' login service does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;

use crate::ports::ReservedPort;
use crate::thread_server::ThreadServer;

/// A server that is independent of the runtimes of single tests. Dropping it stops it.
#[derive(Debug)]
pub struct JwksServer {
    state: Arc<KeySetState>,
    server: ThreadServer,
}

#[derive(Debug)]
struct KeySetState {
    key_set: Mutex<Value>,
    requests: AtomicUsize,
}

impl JwksServer {
    /// # Errors
    /// When the server's thread cannot be started.
    pub fn start(port: ReservedPort, key_set: Value) -> Result<Self> {
        let state = Arc::new(KeySetState {
            key_set: Mutex::new(key_set),
            requests: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route(PATH, get(serve))
            .with_state(Arc::clone(&state));
        let server = ThreadServer::start("key-set", port, router)?;
        Ok(Self { state, server })
    }

    /// The key set's URL.
    pub fn url(&self) -> String {
        self.server.url(PATH)
    }

    /// Replaces the key set, as a key rotation does.
    pub fn publish(&self, key_set: Value) {
        *self
            .state
            .key_set
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = key_set;
    }

    /// How often the key set was requested.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::Relaxed)
    }
}

const PATH: &str = "/.well-known/jwks.json";

async fn serve(State(served): State<Arc<KeySetState>>) -> Json<Value> {
    served.requests.fetch_add(1, Ordering::Relaxed);
    Json(
        served
            .key_set
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ports::Ports;

    #[tokio::test]
    async fn server_returns_the_latest_key_set_and_counts_requests() {
        let port = Ports::free().reserve("jwks").unwrap();
        let server = JwksServer::start(port, json!({"keys": []})).unwrap();
        let fetch = async || -> Value {
            reqwest::get(server.url())
                .await
                .unwrap()
                .json()
                .await
                .unwrap()
        };
        assert_eq!(fetch().await, json!({"keys": []}));
        server.publish(json!({"keys": [{"kid": "new"}]}));
        assert_eq!(fetch().await, json!({"keys": [{"kid": "new"}]}));
        assert_eq!(server.requests(), 2);
    }
}
