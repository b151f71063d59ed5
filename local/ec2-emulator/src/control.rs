//! The control API under `/_emulator/`, by which tests and operators read the ledger, inject faults
//! and change settings. The crate's documentation describes it.

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::emulator::Emulator;
use crate::faults::Faults;

pub(crate) fn router() -> Router<Emulator> {
    Router::new()
        .route("/health", get(health))
        .route("/ledger", get(ledger))
        .route("/faults", get(faults).put(set_faults))
        .route("/settings", get(settings).patch(patch_settings))
}

async fn health() -> Response {
    Json(json!({"status": "ok"})).into_response()
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LedgerQuery {
    /// Only calls with a greater `seq` are returned.
    since: u64,
}

async fn ledger(State(emulator): State<Emulator>, Query(query): Query<LedgerQuery>) -> Response {
    // Serialized under the lock, because the report borrows from the locked state.
    let report = emulator.with(|state, now| {
        serde_json::to_vec(
            &state
                .ledger
                .report(&state.world, &state.events, query.since, now),
        )
    });
    match report {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn faults(State(emulator): State<Emulator>) -> Response {
    Json(emulator.with(|state, _| state.world.faults.clone())).into_response()
}

async fn set_faults(State(emulator): State<Emulator>, body: Bytes) -> Response {
    let faults = match parse::<Faults>(&body) {
        Ok(faults) => faults,
        Err(response) => return response,
    };
    let left = emulator.with(|state, now| {
        state.world.set_faults(faults, now)?;
        Ok::<_, String>(state.world.faults.clone())
    });
    match left {
        Ok(left) => Json(left).into_response(),
        Err(error) => failure(StatusCode::BAD_REQUEST, &error),
    }
}

async fn settings(State(emulator): State<Emulator>) -> Response {
    Json(emulator.with(|state, _| state.world.settings.clone())).into_response()
}

async fn patch_settings(State(emulator): State<Emulator>, body: Bytes) -> Response {
    let patch = match parse(&body) {
        Ok(patch) => patch,
        Err(response) => return response,
    };
    let changed = emulator.with(|state, _| {
        let changed = state.world.settings.patched(&patch)?;
        state.world.settings = changed.clone();
        Ok::<_, serde_json::Error>(changed)
    });
    match changed {
        Ok(settings) => Json(settings).into_response(),
        Err(error) => failure(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

/// Parses JSON with any content type, because `curl -d` sets the one of a form.
#[expect(
    clippy::result_large_err,
    reason = "the error is the response, and a request has at most one"
)]
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Response> {
    serde_json::from_slice(body)
        .map_err(|error| failure(StatusCode::BAD_REQUEST, &error.to_string()))
}

fn failure(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"error": message}))).into_response()
}
