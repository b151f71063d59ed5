//! Serves a JSON web key set, as the users' login service would.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::ports::Reserved;

/// A server in a thread and a runtime of its own, so that it goes on while the
/// runtimes of single tests come and go. Dropping it stops it.
#[derive(Debug)]
pub struct JwksServer {
    address: SocketAddr,
    state: Arc<Served>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Served {
    key_set: Mutex<Value>,
    requests: AtomicUsize,
}

impl JwksServer {
    pub fn start(port: Reserved, key_set: Value) -> Result<Self> {
        let listener = port.into_listener();
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("start the runtime of the key set's server")?;
        let state = Arc::new(Served {
            key_set: Mutex::new(key_set),
            requests: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route(PATH, get(serve))
            .with_state(Arc::clone(&state));
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("jwks".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let server = async {
                        let listener = tokio::net::TcpListener::from_std(listener)?;
                        axum::serve(listener, router).await
                    };
                    tokio::select! {
                        result = server => if let Err(error) = result {
                            eprintln!("the key set is no longer served: {error}");
                        },
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self {
            address,
            state,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// Serves another key set from now on, as after a rotation.
    pub fn publish(&self, key_set: Value) {
        *self
            .state
            .key_set
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = key_set;
    }

    /// How often the key set was asked for.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::Relaxed)
    }
}

const PATH: &str = "/.well-known/jwks.json";

async fn serve(State(served): State<Arc<Served>>) -> Json<Value> {
    served.requests.fetch_add(1, Ordering::Relaxed);
    Json(
        served
            .key_set
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone(),
    )
}

impl Drop for JwksServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing left to do but to end.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ports::Ports;

    #[tokio::test]
    async fn serves_what_was_published_last_and_counts() {
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
