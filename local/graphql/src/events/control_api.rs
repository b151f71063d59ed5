//! The HTTP endpoint with which tests and operators inspect and disturb the delivery.
//!
//! | request | effect and response |
//! |---|---|
//! | `GET /` | `{"paused", "sending", "copies", "events": {"pending", "delivered", "failed", "dropped"}}` |
//! | `POST /pause`, `POST /resume` | while paused, no request is started |
//! | `POST /retry-now` | makes events due that wait for a retry or are delayed: `{"events"}` |
//! | `POST /invoke` | adds an event of a trigger with `enable_manual`, from `{"name", "payload"}`: `{"event_id"}` |
//! | `GET`, `PUT /faults` | see [`crate::events::faults`] |
//! | `GET /deliveries?after=SEQ&limit=N` | `{"deliveries": [{"seq", "event_id", "trigger_name", "attempt", "copy", "outcome", "status", "error", "started_at", "ended_at"}], "last"}` |

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::events::delivery::EventSender;
use crate::events::faults::Faults;

/// Maximum number of deliveries in one response.
const MAX_DELIVERIES: i64 = 10_000;

type SharedSender = State<Arc<EventSender>>;

pub(crate) fn router(sender: Arc<EventSender>) -> Router {
    Router::new()
        .route("/", get(state))
        .route("/pause", post(pause))
        .route("/resume", post(resume))
        .route("/retry-now", post(retry_now))
        .route("/invoke", post(invoke))
        .route("/faults", get(faults).put(set_faults))
        .route("/deliveries", get(deliveries))
        .with_state(sender)
}

/// An error response: `{"error": message}`.
struct ApiError(StatusCode, String);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

/// An internal failure.
impl From<anyhow::Error> for ApiError {
    fn from(error: anyhow::Error) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))
    }
}

type ApiResult = Result<Json<Value>, ApiError>;

/// Parses JSON regardless of the content type, so that `curl -d` works without a header.
fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| bad_request(&error))
}

fn bad_request(error: &impl ToString) -> ApiError {
    ApiError(StatusCode::BAD_REQUEST, error.to_string())
}

async fn state(State(sender): SharedSender) -> ApiResult {
    let controls = &sender.controls;
    Ok(Json(json!({
        "paused": controls.is_paused(),
        "sending": controls.sending(),
        "copies": controls.copies(),
        "events": sender.log.counts().await?,
    })))
}

async fn pause(sender: SharedSender) -> ApiResult {
    sender.controls.set_paused(true);
    state(sender).await
}

async fn resume(sender: SharedSender) -> ApiResult {
    sender.controls.set_paused(false);
    state(sender).await
}

async fn retry_now(State(sender): SharedSender) -> ApiResult {
    let events = sender.log.make_all_due().await?;
    sender.controls.notify_loop();
    Ok(Json(json!({"events": events})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Invocation {
    name: String,
    payload: Value,
}

async fn invoke(State(sender): SharedSender, body: Bytes) -> ApiResult {
    let Invocation { name, payload } = parse(&body)?;
    let Some(trigger) = sender.triggers.get(&name) else {
        let message = format!("the metadata has no event trigger `{name}`");
        return Err(ApiError(StatusCode::NOT_FOUND, message));
    };
    if !trigger.manual {
        return Err(bad_request(&format!(
            "event trigger `{name}` does not have enable_manual"
        )));
    }
    let id = sender.log.add_manual_event(trigger, &payload).await?;
    Ok(Json(json!({"event_id": id})))
}

async fn faults(State(sender): SharedSender) -> Json<Faults> {
    Json(sender.controls.faults())
}

async fn set_faults(State(sender): SharedSender, body: Bytes) -> Result<Json<Faults>, ApiError> {
    let faults = parse(&body)?;
    sender
        .controls
        .set_faults(faults)
        .map_err(|error| bad_request(&error))?;
    Ok(Json(sender.controls.faults()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Page {
    after: i64,
    limit: i64,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            after: 0,
            limit: MAX_DELIVERIES,
        }
    }
}

async fn deliveries(State(sender): SharedSender, Query(page): Query<Page>) -> ApiResult {
    let limit = page.limit.clamp(1, MAX_DELIVERIES);
    let deliveries = sender.log.deliveries(page.after, limit).await?;
    let last = deliveries
        .last()
        .map_or(json!(page.after), |delivery| delivery["seq"].clone());
    Ok(Json(json!({"deliveries": deliveries, "last": last})))
}
