//! `assign-user` assigns a slot to the user of a token: `POST /mandelbox/assign`. And it ends the user's
//! session: `DELETE /mandelbox/assign/{session}`.
//!
//! event → `function_url` → [`auth`] → [`request`] → [`Assigner`] (one database round trip, or more if
//! the client waits for a slot) → `response`. It needs neither the region's lock nor EC2, so that
//! users get slots from the buffer while passes fail.

pub mod auth;
pub mod cors;
mod jwks;
pub mod key_cache;
pub mod key_check;
mod line;
mod outcome_log;
pub mod request;
mod response;
pub mod settings;

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::lambda_function_urls::LambdaFunctionUrlResponse;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde_json::Value;
use shared::assign::{
    AssignOutcome, AssignRefusal, AssignRequest, Assigner, Assignment, HeldSession, SessionEnd,
};
use shared::clock::Clock;
use shared::db::DbError;
use shared::metrics::{
    ASSIGNS, Batch, Metrics, REASON, REFUSALS, REGION, TIME_TO_SLOT, UNSERVED_REQUESTS,
};
use startup::config::Stage;
use startup::function_url::{HttpEvent, error_name};

use auth::TokenVerifier;
use cors::AllowedOrigins;
use request::{AssignBody, LocalDev};
use response::Rejection;
use settings::HASURA_TIMEOUT;

/// A body with 64 regions whose names are as long as possible has 10 kB.
const LARGEST_BODY: usize = 64 * 1024;

/// The time that is left for the last question of a request that waits for a slot: both attempts, and
/// the answer.
const LAST_QUESTION: Duration = HASURA_TIMEOUT
    .saturating_mul(2)
    .saturating_add(Duration::from_secs(1));

/// What a path names.
#[derive(Clone, Copy)]
enum Resource<'p> {
    /// The user's slots.
    Slots,
    /// The session with this id, percent-encoded.
    Session(&'p str),
}

impl<'p> Resource<'p> {
    fn of(path: &'p str) -> Option<Self> {
        let rest = match path {
            "" => "",
            path => path.strip_prefix("/mandelbox/assign")?,
        };
        match rest.strip_prefix('/') {
            None => rest.is_empty().then_some(Self::Slots),
            Some(session) => (!session.contains('/')).then_some(Self::Session(session)),
        }
    }

    fn methods(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Slots => "POST, OPTIONS",
            Self::Session(_) => "DELETE, OPTIONS",
        })
    }
}

/// The function, and the state that it keeps between invocations.
#[derive(Debug)]
pub struct AssignUser<A> {
    pub assigner: A,
    pub tokens: TokenVerifier,
    pub origins: AllowedOrigins,
    pub local_dev: LocalDev,
    pub stage: Stage,
    /// How long a request may wait for a slot.
    pub max_wait: Duration,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<dyn Metrics>,
}

impl<A: Assigner> AssignUser<A> {
    /// Answers every event, also a malformed one: its answer says what is wrong. An invocation
    /// fails only if the function is killed, which happens at `deadline`.
    pub async fn handle(&self, event: Value, deadline: Timestamp) -> LambdaFunctionUrlResponse {
        let event = match HttpEvent::parse(event) {
            Ok(event) => event,
            Err(bad) => return self.reject(&HeaderMap::new(), &bad.into()),
        };
        match self.route(&event, deadline).await {
            Ok(mut response) => {
                self.origins.mark(event.headers(), &mut response.headers);
                response
            }
            Err(rejection) => self.reject(event.headers(), &rejection),
        }
    }

    async fn route(
        &self,
        event: &HttpEvent,
        deadline: Timestamp,
    ) -> Result<LambdaFunctionUrlResponse, Rejection> {
        let resource = Resource::of(event.path()).ok_or(Rejection::Path)?;
        if !self.origins.allow(event.headers()) {
            return Err(Rejection::Origin);
        }
        match (resource, event.method()) {
            (Resource::Slots, "POST") => self.assign(event, deadline).await,
            (Resource::Session(session), "DELETE") => self.end_session(event, session).await,
            (_, "OPTIONS") => {
                let mut response = response::options(resource.methods());
                AllowedOrigins::mark_preflight(&mut response.headers);
                Ok(response)
            }
            _ => Err(Rejection::Method(resource.methods())),
        }
    }

    async fn end_session(
        &self,
        event: &HttpEvent,
        session: &str,
    ) -> Result<LambdaFunctionUrlResponse, Rejection> {
        let user = self.tokens.user(event.headers()).await?;
        let session = request::session_of_path(session).map_err(Rejection::Session)?;
        match self.assigner.end_session(&user, &session).await {
            Ok(SessionEnd::Unknown) => Err(Rejection::NoSession),
            Ok(end) => {
                tracing::info!(%user, %session, state = response::state(end), "user ends a session");
                Ok(response::ended(&session, end))
            }
            Err(error) => {
                tracing::error!(%user, %session, %error, "ending a session failed");
                Err(Rejection::Unavailable)
            }
        }
    }

    async fn assign(
        &self,
        event: &HttpEvent,
        deadline: Timestamp,
    ) -> Result<LambdaFunctionUrlResponse, Rejection> {
        let began = self.clock.now();
        // The cheapest check first: a body that is too large does not cause a key fetch. Details of
        // a wrong body are for authenticated users only.
        let body = event.body(LARGEST_BODY)?;
        let user = self.tokens.user(event.headers()).await?;
        let body = AssignBody::parse(&body, self.local_dev)?;
        let until = (began + body.wait.min(self.max_wait)).min(deadline - LAST_QUESTION);
        let (request, claims) = body.into_request(user);
        match self.ask(&request, until).await {
            Ok(AssignOutcome::Assigned(assignment)) => {
                outcome_log::assigned(&request, &claims, &assignment);
                self.count_assigned(&assignment);
                Ok(response::assigned(&assignment))
            }
            Ok(AssignOutcome::Refused { reason, app, held }) => {
                outcome_log::refused(&request, &claims, reason, app.as_ref(), self.stage);
                self.count_refused(reason.name(), reason.is_of_service());
                Err(self.rejection(&request, reason, held))
            }
            Err(error) => {
                tracing::error!(user = %request.user, session = %request.session, %error, "assignment failed");
                self.count_refused(error_name(Rejection::Unavailable.status()), true);
                Err(Rejection::Unavailable)
            }
        }
    }

    /// No region of a refusal is counted: users name regions, and every name is a new metric.
    fn count_refused(&self, reason: &str, is_of_service: bool) {
        let mut batch = Batch::of([(REASON, reason)]).with(REFUSALS, 1);
        if is_of_service {
            batch = batch.with(UNSERVED_REQUESTS, 1);
        }
        self.metrics.record(batch);
    }

    fn count_assigned(&self, assignment: &Assignment) {
        if assignment.repeated {
            return;
        }
        let batch = Batch::of([(REGION, assignment.region.as_str())])
            .with(ASSIGNS, 1)
            .with(TIME_TO_SLOT, assignment.waited.as_secs_f64().max(0.0));
        self.metrics.record(batch);
    }

    /// Asks for a slot, and again until there is one or `until` is reached.
    async fn ask(
        &self,
        request: &AssignRequest,
        until: Timestamp,
    ) -> Result<AssignOutcome, DbError> {
        loop {
            let outcome = self.assigner.assign(request).await?;
            let AssignOutcome::Refused {
                reason: AssignRefusal::NoInstanceAvailable(line),
                ..
            } = &outcome
            else {
                return Ok(outcome);
            };
            let now = self.clock.now();
            let left = Duration::try_from(until.duration_since(now)).unwrap_or_default();
            if left < line::SHORTEST_PAUSE {
                return Ok(outcome);
            }
            let pause = line::pause(line, line::spread(request, now));
            self.clock.sleep(pause.min(left)).await;
        }
    }

    fn rejection(
        &self,
        request: &AssignRequest,
        reason: AssignRefusal,
        held: Vec<HeldSession>,
    ) -> Rejection {
        let AssignRefusal::NoInstanceAvailable(line) = reason else {
            return Rejection::Refused(reason, held);
        };
        let spread = line::spread(request, self.clock.now());
        Rejection::InLine {
            line,
            retry_after_seconds: line::retry_after_seconds(&line, spread),
        }
    }

    fn reject(&self, request: &HeaderMap, rejection: &Rejection) -> LambdaFunctionUrlResponse {
        tracing::info!(
            status = rejection.status().as_u16(),
            error = rejection.name(),
            reason = %rejection,
            "request rejected"
        );
        let mut response = rejection.response();
        self.origins.mark(request, &mut response.headers);
        response
    }
}
