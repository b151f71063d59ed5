//! `hasura-event`: an event says *look*, not *what to do*.
//!
//! event → secret → [`payload`] → wake (durable, and only then seen) → a pass for each region.

pub mod payload;

use std::time::Duration;

use aws_lambda_events::lambda_function_urls::LambdaFunctionUrlResponse;
use futures::future::join_all;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use shared::db::DbError;
use shared::function_url::{BadEvent, HttpEvent, response};
use shared::ids::RegionName;
use shared::lock::LockError;
use shared::pass::{Order, Passes};
use shared::report::PassReport;
use shared::trigger::Trigger;
use thiserror::Error;
use tracing::field::Empty;
use tracing::{Instrument, Span, error, info, info_span, warn};

use payload::{BadPayload, DatabaseEvent, Wanted};

/// The header that the metadata's event triggers send: Hasura signs nothing.
const SECRET_HEADER: &str = "x-event-secret";

/// Rows of the tables with triggers have a few kilobytes at most.
const LARGEST_BODY: usize = 256 * 1024;

const LONGEST_REST: SignedDuration = SignedDuration::from_secs(3);

/// The function, with what it keeps between invocations.
#[derive(Debug)]
pub struct HasuraEvents {
    pub passes: Passes,
    pub secret: SecretString,
    /// Whose app versions concern this stack.
    pub environment: String,
}

/// Why an event wakes nobody. Hasura sends again whatever is not answered with 2xx, as often as
/// the trigger's `retry_conf` says.
#[derive(Debug, Error)]
enum Rejection {
    #[error("the header {SECRET_HEADER} is missing or wrong")]
    Secret,
    #[error("only POST is understood here")]
    Method,
    #[error(transparent)]
    Event(#[from] BadEvent),
    #[error(transparent)]
    Payload(#[from] BadPayload),
    #[error("the wake could not be made durable: {0}")]
    Wake(#[from] LockError),
    #[error("list the regions: {0}")]
    Regions(#[from] DbError),
}

impl Rejection {
    fn status(&self) -> StatusCode {
        match self {
            Self::Secret => StatusCode::UNAUTHORIZED,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Event(BadEvent::TooLarge(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Event(_) | Self::Payload(_) => StatusCode::BAD_REQUEST,
            // The same event may get through in a moment.
            Self::Wake(_) | Self::Regions(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl HasuraEvents {
    /// Answers any event at all. `request_id` is for the log.
    pub async fn handle(&self, event: Value, request_id: &str) -> LambdaFunctionUrlResponse {
        let span = info_span!("hasura-event", request = request_id, id = Empty);
        match self.answer(event).instrument(span.clone()).await {
            Ok(body) => answer(StatusCode::OK, &body),
            Err(rejection) => {
                let status = rejection.status();
                let _entered = span.enter();
                if status.is_server_error() {
                    error!(problem = %rejection, "to be sent again");
                } else {
                    warn!(problem = %rejection, "rejected");
                }
                // What is ours to mend is told to the log, not to the sender.
                let message = match status {
                    StatusCode::SERVICE_UNAVAILABLE => "the service cannot answer now".to_owned(),
                    _ => rejection.to_string(),
                };
                answer(status, &json!({ "error": message }))
            }
        }
    }

    async fn answer(&self, event: Value) -> Result<Value, Rejection> {
        let http = HttpEvent::parse(event)?;
        // Before anything of a stranger's is read.
        self.check_secret(http.headers())?;
        if http.method() != "POST" {
            return Err(Rejection::Method);
        }
        let event = DatabaseEvent::parse(&http.body(LARGEST_BODY)?)?;
        Span::current().record("id", &event.id);
        let wanted = match event.wanted(&self.environment)? {
            Wanted::Nothing(why) => {
                info!(trigger = event.trigger, why, "nothing to look at");
                return Ok(json!({ "ignored": why }));
            }
            Wanted::Region(region) => vec![region],
            Wanted::AllRegions => self.passes.regions().await?,
        };
        if !self.passes.wake(&event.id, &wanted).await? {
            info!(trigger = event.trigger, "seen before");
            return Ok(json!({ "ignored": "seen before" }));
        }
        info!(trigger = event.trigger, regions = ?wanted, "woken");
        Ok(self.look(&event, &wanted).await)
    }

    /// The wake is durable: whatever becomes of these passes, the event is not needed again.
    async fn look(&self, event: &DatabaseEvent, regions: &[RegionName]) -> Value {
        let order = Order {
            trigger: Trigger::DatabaseEvent {
                name: event.trigger.clone(),
            },
            id: event.id.clone(),
            began: self.passes.clock.now(),
            approve_mass_removal: false,
        };
        let mut reports = self.run(regions, &order).await;
        if let Some(rest) = self.rest_of_bucket(event, order.began) {
            // The rush that the event is of goes on: what comes in the rest of its bucket sends
            // no event, so that a thousand assigns make one.
            self.passes.clock.sleep(rest).await;
            let order = Order {
                began: self.passes.clock.now(),
                ..order
            };
            match self.passes.mark(regions, &event.id).await {
                Ok(()) => reports = self.run(regions, &order).await,
                Err(problem) => warn!(%problem, "the end of the bucket is left to the schedule"),
            }
        }
        let outcomes: Vec<_> = reports
            .iter()
            .map(|report| json!({ "region": report.region, "result": report.outcome }))
            .collect();
        json!({ "regions": outcomes })
    }

    async fn run(&self, regions: &[RegionName], order: &Order) -> Vec<PassReport> {
        join_all(regions.iter().map(|region| self.passes.run(region, order))).await
    }

    /// How long it is until everything that the event stands for has happened; none if a look
    /// at `looked_at` has seen it all.
    fn rest_of_bucket(&self, event: &DatabaseEvent, looked_at: Timestamp) -> Option<Duration> {
        let until = event.speaks_until()?;
        // Further away than a bucket is wide: the clocks are apart, or the row is not of ours.
        if looked_at >= until || until.duration_since(looked_at) > LONGEST_REST {
            return None;
        }
        Some(Duration::try_from(until.duration_since(self.passes.clock.now())).unwrap_or_default())
    }

    fn check_secret(&self, headers: &HeaderMap) -> Result<(), Rejection> {
        let given = headers
            .get(SECRET_HEADER)
            .map(HeaderValue::as_bytes)
            .unwrap_or_default();
        let wanted = self.secret.expose_secret().as_bytes();
        // In constant time: an answer that comes sooner would tell how much of it was right.
        aws_lc_rs::constant_time::verify_slices_are_equal(given, wanted)
            .map_err(|_| Rejection::Secret)
    }
}

fn answer(status: StatusCode, body: &Value) -> LambdaFunctionUrlResponse {
    let json = HeaderValue::from_static("application/json");
    response(
        status,
        HeaderMap::from_iter([(CONTENT_TYPE, json)]),
        Some(body.to_string()),
    )
}
