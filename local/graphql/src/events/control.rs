//! How tests and operators look at the delivery, and disturb it, over HTTP.
//!
//! | | |
//! |---|---|
//! | `GET /` | `{"paused", "sending", "copies", "events": {"pending", "delivered", "failed", "dropped"}}` |
//! | `POST /pause`, `POST /resume` | while paused, nothing is sent |
//! | `POST /retry-now` | events that wait for a retry, or are delayed, are due now: `{"events"}` |
//! | `POST /invoke` | `{"name", "payload"}`: an event by hand, of a trigger with `enable_manual`: `{"event_id"}` |
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

use crate::events::delivery::Courier;
use crate::events::faults::Faults;

/// Deliveries in one answer.
const MAX_DELIVERIES: i64 = 10_000;

type Shared = State<Arc<Courier>>;

pub(crate) fn router(courier: Arc<Courier>) -> Router {
    Router::new()
        .route("/", get(state))
        .route("/pause", post(pause))
        .route("/resume", post(resume))
        .route("/retry-now", post(retry_now))
        .route("/invoke", post(invoke))
        .route("/faults", get(faults).put(set_faults))
        .route("/deliveries", get(deliveries))
        .with_state(courier)
}

/// An error, as the answer that tells it.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

/// A failure of our own.
impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))
    }
}

type Answer = Result<Json<Value>, Refusal>;

/// Takes JSON whatever the content type says, for the convenience of `curl -d`.
fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| bad(&error))
}

fn bad(error: &impl ToString) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, error.to_string())
}

async fn state(State(courier): Shared) -> Answer {
    let controls = &courier.controls;
    Ok(Json(json!({
        "paused": controls.is_paused(),
        "sending": controls.sending(),
        "copies": controls.copies(),
        "events": courier.log.counts().await?,
    })))
}

async fn pause(courier: Shared) -> Answer {
    courier.controls.set_paused(true);
    state(courier).await
}

async fn resume(courier: Shared) -> Answer {
    courier.controls.set_paused(false);
    state(courier).await
}

async fn retry_now(State(courier): Shared) -> Answer {
    let events = courier.log.hurry().await?;
    courier.controls.ring();
    Ok(Json(json!({"events": events})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Invocation {
    name: String,
    payload: Value,
}

async fn invoke(State(courier): Shared, body: Bytes) -> Answer {
    let Invocation { name, payload } = parse(&body)?;
    let Some(trigger) = courier.triggers.get(&name) else {
        let message = format!("there is no event trigger {name}");
        return Err(Refusal(StatusCode::NOT_FOUND, message));
    };
    if !trigger.manual {
        return Err(bad(&format!("{name} does not have enable_manual")));
    }
    let id = courier.log.invoke(trigger, &payload).await?;
    Ok(Json(json!({"event_id": id})))
}

async fn faults(State(courier): Shared) -> Json<Faults> {
    Json(courier.controls.faults())
}

async fn set_faults(State(courier): Shared, body: Bytes) -> Result<Json<Faults>, Refusal> {
    let faults = parse(&body)?;
    courier.controls.set_faults(faults).map_err(|e| bad(&e))?;
    Ok(Json(courier.controls.faults()))
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

async fn deliveries(State(courier): Shared, Query(page): Query<Page>) -> Answer {
    let limit = page.limit.clamp(1, MAX_DELIVERIES);
    let deliveries = courier.log.deliveries(page.after, limit).await?;
    let last = deliveries
        .last()
        .map_or(json!(page.after), |delivery| delivery["seq"].clone());
    Ok(Json(json!({"deliveries": deliveries, "last": last})))
}
