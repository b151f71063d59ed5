//! `status`: SimpleScaleVM's web server, as a function: how each region is, what was decided and
//! why. It reads only.
//!
//! event → `function_url` → [`auth`] → [`route`] → [`gather`] (a [`model`]) → `response`.

mod assemble;
pub mod auth;
pub mod gather;
pub mod model;
mod response;
pub mod route;
pub mod settings;

use aws_lambda_events::lambda_function_urls::LambdaFunctionUrlResponse;
use http::StatusCode;
use serde_json::Value;
use shared::function_url::HttpEvent;

use auth::Access;
use gather::Gatherer;
use response::{Rejection, as_json};
use route::{NoRoute, Route};

/// The function, with what it keeps between invocations.
#[derive(Debug)]
pub struct StatusPage {
    pub access: Access,
    pub gatherer: Gatherer,
}

impl StatusPage {
    /// Answers any event at all: what is wrong with it is in the answer.
    pub async fn handle(&self, event: Value) -> LambdaFunctionUrlResponse {
        let event = match HttpEvent::parse(event) {
            Ok(event) => event,
            Err(bad) => return reject(&bad.into()),
        };
        let mut response = match self.answer(&event).await {
            Ok(response) => response,
            Err(rejection) => reject(&rejection),
        };
        if event.method() == "HEAD" {
            response.body = None;
        }
        response
    }

    async fn answer(&self, event: &HttpEvent) -> Result<LambdaFunctionUrlResponse, Rejection> {
        let route = Route::of(event);
        // Whether passes run may be asked by a load balancer; that there is nothing at a path is
        // nobody's business but who may look.
        if route != Ok(Route::Health) {
            self.access.check(event.headers())?;
        }
        let route = route.map_err(|no| match no {
            NoRoute::Path => Rejection::Path,
            NoRoute::Before => Rejection::Before,
        })?;
        if !matches!(event.method(), "GET" | "HEAD") {
            return Err(Rejection::Method);
        }
        self.tell(route).await
    }

    async fn tell(&self, route: Route) -> Result<LambdaFunctionUrlResponse, Rejection> {
        match route {
            Route::Status => Ok(as_json(StatusCode::OK, &self.gatherer.status().await?)),
            Route::Health => {
                let health = self.gatherer.health().await?;
                let status = if health.stale.is_empty() {
                    StatusCode::OK
                } else {
                    tracing::error!(stale = ?health.stale, "no decision for too long");
                    StatusCode::SERVICE_UNAVAILABLE
                };
                Ok(as_json(status, &health))
            }
            Route::Region { region, before } => {
                match self.gatherer.region(&region, before).await? {
                    Some(page) => Ok(as_json(StatusCode::OK, &page)),
                    None => Err(Rejection::Region(region)),
                }
            }
            Route::Decision { region, version } => {
                match self.gatherer.decision(&region, version).await? {
                    Some(decision) => Ok(as_json(StatusCode::OK, &decision)),
                    None => Err(Rejection::Decision { region, version }),
                }
            }
        }
    }
}

fn reject(rejection: &Rejection) -> LambdaFunctionUrlResponse {
    let status = rejection.status();
    if status.is_server_error() {
        tracing::error!(problem = %rejection, "cannot tell");
    } else {
        let status = status.as_u16();
        tracing::info!(status, error = rejection.name(), reason = %rejection, "rejected");
    }
    rejection.response()
}
