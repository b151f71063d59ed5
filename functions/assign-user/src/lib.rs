//! `assign-user` assigns a slot to the user of a token: `POST /mandelbox/assign`.
//!
//! event → `function_url` → [`auth`] → [`request`] → [`Assigner`] (one database round trip) →
//! `response`. It needs neither the region's lock nor EC2, so that users get slots from the buffer
//! while passes fail.

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

/// A body with 64 regions whose names are as long as possible has 10 kB.
const LARGEST_BODY: usize = 64 * 1024;

/// The function, and the state that it keeps between invocations.
#[derive(Debug)]
pub struct AssignUser<A> {
    pub assigner: A,
    pub tokens: TokenVerifier,
    pub origins: AllowedOrigins,
    pub local_dev: LocalDev,
}

impl<A: Assigner> AssignUser<A> {
    /// Answers every event, also a malformed one: its answer says what is wrong. An invocation
    /// fails only if the function is killed.
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
        // The cheapest check first: a body that is too large does not cause a key fetch. Details of
        // a wrong body are for authenticated users only.
        let body = event.body(LARGEST_BODY)?;
        let user = self.tokens.user(event.headers()).await?;
        let (request, claims) = AssignBody::parse(&body, self.local_dev)?.into_request(user);
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
                tracing::error!(user = %request.user, session = %request.session, %error, "assignment failed");
                Err(Rejection::Unavailable)
            }
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
