//! `hasura-event` handles Hasura's event triggers. An event says that something changed, and not what
//! to do: the pass observes the region.
//!
//! event → secret → [`payload`] → wake marks → a pass for each region.

pub mod payload;

use std::time::Duration;

use aws_lambda_events::lambda_function_urls::LambdaFunctionUrlResponse;
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use shared::db::DbError;
use shared::ids::RegionName;
use shared::lock::LockError;
use shared::pass::{EventOutcome, PassRequest, Reconciler};
use shared::report::PassReport;
use shared::trigger::Trigger;
use startup::function_url::{BadEvent, ErrorBody, HttpEvent, json_response};
use thiserror::Error;
use tracing::field::Empty;
use tracing::{Instrument, Span, error, info, info_span, warn};

use payload::{AffectedRegions, BadPayload, DatabaseEvent};

/// The header that the metadata's event triggers send: Hasura does not sign its requests.
const SECRET_HEADER: &str = "x-event-secret";

/// Rows of the tables with triggers have a few kilobytes at most.
const LARGEST_BODY: usize = 256 * 1024;

/// A bucket is two seconds wide.
const LONGEST_REST: SignedDuration = SignedDuration::from_secs(3);

/// The function, with what it keeps between invocations.
#[derive(Debug)]
pub struct HasuraEvents {
    pub reconciler: Reconciler,
    pub secret: SecretString,
    /// The environment whose app versions concern this stack.
    pub environment: String,
}

/// Why an event is not handled. Hasura sends it again unless the answer is 2xx, as often as the
/// trigger's `retry_conf` says.
#[derive(Debug, Error)]
enum Rejection {
    #[error("the header {SECRET_HEADER} is missing or wrong")]
    Secret,
    #[error("the method must be POST")]
    Method,
    #[error(transparent)]
    Event(#[from] BadEvent),
    #[error(transparent)]
    Payload(#[from] BadPayload),
    #[error("set the regions' wake marks: {0}")]
    Lock(#[from] LockError),
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
            // The same event may succeed in a moment.
            Self::Lock(_) | Self::Regions(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl HasuraEvents {
    /// Answers any event. `request_id` is for the log.
    pub async fn handle(&self, event: Value, request_id: &str) -> LambdaFunctionUrlResponse {
        let span = info_span!("hasura-event", request = request_id, id = Empty);
        match self.handle_request(event).instrument(span.clone()).await {
            Ok(body) => json_response(StatusCode::OK, &body),
            Err(rejection) => {
                let status = rejection.status();
                let _entered = span.enter();
                if status.is_server_error() {
                    error!(error = %rejection, "event not handled, Hasura will send it again");
                } else {
                    warn!(error = %rejection, "event rejected");
                }
                json_response(status, &ErrorBody::new(status, &rejection))
            }
        }
    }

    async fn handle_request(&self, event: Value) -> Result<Value, Rejection> {
        let http = HttpEvent::parse(event)?;
        // Nothing that a stranger sent is read before this.
        self.check_secret(http.headers())?;
        if http.method() != "POST" {
            return Err(Rejection::Method);
        }
        let event = DatabaseEvent::parse(&http.body(LARGEST_BODY)?)?;
        Span::current().record("id", &event.id);
        let regions = match event.affected_regions(&self.environment)? {
            AffectedRegions::None(reason) => {
                info!(trigger = event.trigger, reason, "event ignored");
                return Ok(json!({ "ignored": reason }));
            }
            AffectedRegions::One(region) => vec![region],
            AffectedRegions::All => self.reconciler.regions().await?,
        };
        let began = self.reconciler.clock.now();
        let outcome = self
            .reconciler
            .handle_event(&event.id, &regions, trigger(&event))
            .await?;
        let mut reports = match outcome {
            EventOutcome::AlreadyHandled => return Ok(json!({ "ignored": "seen before" })),
            EventOutcome::Handled(reports) => reports,
        };
        if let Some(rest) = self.rest_of_bucket(&event, began)
            && let Some(later) = self.second_passes(&event, &regions, rest).await
        {
            reports = later;
        }
        let outcomes: Vec<_> = reports
            .iter()
            .map(|report| json!({ "region": report.region, "result": report.outcome }))
            .collect();
        Ok(json!({ "regions": outcomes }))
    }

    /// Assigns that come in the rest of the event's bucket send no event, so that a thousand
    /// assigns make one: a second pass after the bucket's end observes them.
    async fn second_passes(
        &self,
        event: &DatabaseEvent,
        regions: &[RegionName],
        rest: Duration,
    ) -> Option<Vec<PassReport>> {
        self.reconciler.clock.sleep(rest).await;
        if let Err(error) = self.reconciler.mark_regions(regions, &event.id).await {
            warn!(%error, "second pass left to the schedule");
            return None;
        }
        let request = PassRequest {
            trigger: trigger(event),
            id: event.id.clone(),
            began: self.reconciler.clock.now(),
            approve_mass_removal: false,
        };
        Some(self.reconciler.run_all(regions, &request).await)
    }

    /// The time until the end of the event's bucket; none if a pass that began at `began` has
    /// observed all of it.
    fn rest_of_bucket(&self, event: &DatabaseEvent, began: Timestamp) -> Option<Duration> {
        let end = event.bucket_end()?;
        // Further away than a bucket is wide: the clocks differ, or the row is not one of ours.
        if began >= end || end.duration_since(began) > LONGEST_REST {
            return None;
        }
        let now = self.reconciler.clock.now();
        Some(Duration::try_from(end.duration_since(now)).unwrap_or_default())
    }

    fn check_secret(&self, headers: &HeaderMap) -> Result<(), Rejection> {
        let given = headers
            .get(SECRET_HEADER)
            .map(HeaderValue::as_bytes)
            .unwrap_or_default();
        let wanted = self.secret.expose_secret().as_bytes();
        // In constant time: an earlier answer would show how much of the secret was right.
        aws_lc_rs::constant_time::verify_slices_are_equal(given, wanted)
            .map_err(|_| Rejection::Secret)
    }
}

fn trigger(event: &DatabaseEvent) -> Trigger {
    Trigger::DatabaseEvent {
        name: event.trigger.clone(),
    }
}
