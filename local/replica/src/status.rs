//! The status that a replica returns, and the endpoint by which a test changes it.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What the replica returns. The field names are those of `/_replica`.
#[derive(Clone, Debug, Serialize)]
struct Status {
    capacity: u64,
    termination: bool,
    /// Never respond.
    hang: bool,
    /// The HTTP status of the response.
    status: u16,
}

/// The fields of the status to replace.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    capacity: Option<u64>,
    termination: Option<bool>,
    hang: Option<bool>,
    status: Option<u16>,
}

type Shared = Arc<Mutex<Status>>;

pub(crate) fn router(capacity: u64) -> Router {
    let status = Status {
        capacity,
        termination: false,
        hang: false,
        status: 200,
    };
    Router::new()
        .route("/_replica", get(show).put(update))
        .fallback(get(serve_status))
        .with_state(Arc::new(Mutex::new(status)))
}

fn read(shared: &Shared) -> Status {
    shared
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

async fn serve_status(State(shared): State<Shared>) -> Response {
    let status = read(&shared);
    if status.hang {
        pending::<()>().await;
    }
    let code = StatusCode::from_u16(status.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({"capacity": status.capacity, "termination": status.termination});
    (code, Json(body)).into_response()
}

async fn show(State(shared): State<Shared>) -> Json<Status> {
    Json(read(&shared))
}

async fn update(State(shared): State<Shared>, Json(change): Json<Change>) -> Json<Status> {
    {
        let mut status = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let Change {
            capacity,
            termination,
            hang,
            status: code,
        } = change;
        status.capacity = capacity.unwrap_or(status.capacity);
        status.termination = termination.unwrap_or(status.termination);
        status.hang = hang.unwrap_or(status.hang);
        status.status = code.unwrap_or(status.status);
    }
    show(State(shared)).await
}
