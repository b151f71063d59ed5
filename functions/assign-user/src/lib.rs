//! `assign-user`: `POST /mandelbox/assign` gives the user of a token a slot.
//!
//! event → `function_url` → [`auth`] → [`request`] → [`Assigner`] (one database round trip) →
//! `response`. No lock and no EC2: assigning goes on from the buffer whatever else is down.

pub mod auth;
pub mod cors;
mod jwks;
pub mod key_cache;
mod outcome_log;
pub mod request;
mod response;
pub mod settings;

use aws_lambda_events::lambda_function_urls::LambdaFunctionUrlResponse;
use http::HeaderMap;
use serde_json::Value;
use shared::assign::{AssignOutcome, Assigner};
use startup::function_url::HttpEvent;

use auth::TokenVerifier;
use cors::AllowedOrigins;
use request::{AssignBody, LocalDev};
use response::Rejection;

/// A body with 64 regions, all names at their longest, has 10 kB.
const LARGEST_BODY: usize = 64 * 1024;

/// The function, with what it keeps between invocations.
#[derive(Debug)]
pub struct AssignUser<A> {
    pub assigner: A,
    pub tokens: TokenVerifier,
    pub origins: AllowedOrigins,
    pub local_dev: LocalDev,
}

impl<A: Assigner> AssignUser<A> {
    /// Answers any event at all: what is wrong with it is in the answer. So the function
    /// itself only ever fails where it is killed.
    pub async fn handle(&self, event: Value) -> LambdaFunctionUrlResponse {
        let event = match HttpEvent::parse(event) {
            Ok(event) => event,
            Err(bad) => return self.reject(&HeaderMap::new(), &bad.into()),
        };
        match self.route(&event).await {
            Ok(mut response) => {
                self.origins.mark(event.headers(), &mut response.headers);
                response
            }
            Err(rejection) => self.reject(event.headers(), &rejection),
        }
    }

    async fn route(&self, event: &HttpEvent) -> Result<LambdaFunctionUrlResponse, Rejection> {
        if !matches!(event.path(), "" | "/mandelbox/assign") {
            return Err(Rejection::Path);
        }
        if !self.origins.allow(event.headers()) {
            return Err(Rejection::Origin);
        }
        match event.method() {
            "POST" => self.assign(event).await,
            "OPTIONS" => {
                let mut response = response::options();
                AllowedOrigins::mark_preflight(&mut response.headers);
                Ok(response)
            }
            _ => Err(Rejection::Method),
        }
    }

    async fn assign(&self, event: &HttpEvent) -> Result<LambdaFunctionUrlResponse, Rejection> {
        // In the order of what it costs us: nobody makes us fetch keys for a body that is too
        // large, and only a user is told what is wrong with a body.
        let body = event.body(LARGEST_BODY)?;
        let user = self.tokens.user(event.headers()).await?;
        let (request, claims) = AssignBody::parse(&body, self.local_dev)?.asked_by(user);
        match self.assigner.assign(&request).await {
            Ok(AssignOutcome::Assigned(assignment)) => {
                outcome_log::assigned(&request, &claims, &assignment);
                Ok(response::assigned(&assignment))
            }
            Ok(AssignOutcome::Refused { reason, app }) => {
                outcome_log::refused(&request, &claims, reason, app.as_ref());
                Err(Rejection::Refused(reason))
            }
            Err(error) => {
                tracing::error!(user = %request.user, session = %request.session, %error, "cannot assign");
                Err(Rejection::Unavailable)
            }
        }
    }

    fn reject(&self, request: &HeaderMap, rejection: &Rejection) -> LambdaFunctionUrlResponse {
        tracing::info!(
            status = rejection.status().as_u16(),
            error = rejection.name(),
            reason = %rejection,
            "rejected"
        );
        let mut response = rejection.response();
        self.origins.mark(request, &mut response.headers);
        response
    }
}
