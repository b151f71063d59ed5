//! What callers are answered: a model as JSON, a page, or what is wrong with the request.

use aws_lambda_events::lambda_function_urls::LambdaFunctionUrlResponse;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::json;
use shared::ids::RegionName;
use startup::function_url::{BadEvent, response};
use thiserror::Error;

use crate::auth::{AuthError, CHALLENGE_OF_A_PAGE, CHALLENGES, end_of_session};
use crate::gather::GatherError;
use crate::page::{self, Visit};
use crate::route::NoRoute;

/// Where nothing is shown, nothing is let in.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD");

/// Of every answer: it is true for a moment, and for whoever has the token; no page may frame it
/// or take it for a script.
const ALWAYS: [(HeaderName, &str); 5] = [
    (CACHE_CONTROL, "no-store"),
    // The same path answers programs and people differently.
    (VARY, "accept"),
    (REFERRER_POLICY, "no-referrer"),
    (STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// Why there is nothing to tell.
#[derive(Debug, Error)]
pub(crate) enum Rejection {
    #[error(transparent)]
    Event(#[from] BadEvent),
    #[error("there is nothing here: GET /, /healthz, /regions/NAME or /decisions/REGION/VERSION")]
    Path,
    #[error("only GET and HEAD are understood here: this function changes nothing")]
    Method,
    #[error("the query's `before` must be a decision's version, a whole number from 1")]
    Before,
    #[error("the query's `after` must be an instance's id, such as i-0123456789abcdef0")]
    After,
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error("there is no region {0} in table `regions`: / has all of them")]
    Region(RegionName),
    #[error(
        "there is no decision {region}/{version}: they are kept for seven days, and a pass that \
         failed before it decided leaves none; /regions/{region} has the newest"
    )]
    Decision { region: RegionName, version: i64 },
    /// Ours to mend: told to the log, not to the caller.
    #[error(transparent)]
    Unavailable(#[from] GatherError),
}

impl From<NoRoute> for Rejection {
    fn from(no: NoRoute) -> Self {
        match no {
            NoRoute::Path => Self::Path,
            NoRoute::Before => Self::Before,
            NoRoute::After => Self::After,
        }
    }
}

impl Rejection {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Event(BadEvent::TooLarge(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Event(_) | Self::Before | Self::After => StatusCode::BAD_REQUEST,
            Self::Path | Self::Region(_) | Self::Decision { .. } => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Auth(_) => StatusCode::UNAUTHORIZED,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.status() {
            StatusCode::PAYLOAD_TOO_LARGE => "PAYLOAD_TOO_LARGE",
            StatusCode::NOT_FOUND => "NOT_FOUND",
            StatusCode::METHOD_NOT_ALLOWED => "METHOD_NOT_ALLOWED",
            StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
            StatusCode::SERVICE_UNAVAILABLE => "SERVICE_UNAVAILABLE",
            _ => "BAD_REQUEST",
        }
    }

    pub(crate) fn as_json(&self) -> LambdaFunctionUrlResponse {
        let body = match self {
            // As SimpleScaleVM's callers read it.
            Self::Unavailable(_) => json!({ "status": 0, "error": self.name() }),
            _ => json!({ "error": self.name(), "message": self.to_string() }),
        };
        self.with_its_headers(as_json(self.status(), &body), CHALLENGES)
    }

    pub(crate) fn as_page(&self, visit: &Visit) -> LambdaFunctionUrlResponse {
        let page = match self {
            Self::Auth(error) => {
                let problem = (*error != AuthError::Missing).then(|| error.to_string());
                page::login(visit, &visit.here, problem)
            }
            Self::Unavailable(_) => {
                let message = "Hasura or DynamoDB could not be read: the log of `status` says \
                               which. This page asks again by itself.";
                page::problem(visit, "How it is cannot be told now", message, true)
            }
            Self::Path => page::problem(visit, "There is nothing here", "", false),
            other => page::problem(visit, "There is nothing to show", &other.to_string(), false),
        };
        self.with_its_headers(as_page(self.status(), page), CHALLENGE_OF_A_PAGE)
    }

    fn with_its_headers(
        &self,
        mut response: LambdaFunctionUrlResponse,
        challenge: HeaderValue,
    ) -> LambdaFunctionUrlResponse {
        match self {
            Self::Method => {
                response.headers.insert(ALLOW, METHODS);
            }
            Self::Auth(_) => {
                response.headers.insert(WWW_AUTHENTICATE, challenge);
            }
            _ => {}
        }
        response
    }
}

/// Renders a model.
pub(crate) fn as_json(status: StatusCode, model: &impl Serialize) -> LambdaFunctionUrlResponse {
    // Strings, numbers and lists of them: this cannot fail.
    answer(
        status,
        "application/json",
        POLICY,
        serde_json::to_string(model).ok(),
    )
}

/// A page that was rendered, which fails only if the memory does.
pub(crate) fn as_page(
    status: StatusCode,
    page: Result<String, askama::Error>,
) -> LambdaFunctionUrlResponse {
    answer(status, "text/html; charset=utf-8", &page::POLICY, page.ok())
}

/// Goes on to a path of this service, with a new session if there is one.
pub(crate) fn let_in(path: &str, session: Option<String>) -> LambdaFunctionUrlResponse {
    let mut response = answer(StatusCode::SEE_OTHER, "text/plain", POLICY, None);
    // With the dot in front it is a path from here, and never another host.
    let location = HeaderValue::from_str(&format!(".{path}"));
    let location = location.ok().filter(|_| path.starts_with('/'));
    let location = location.unwrap_or(HeaderValue::from_static("./"));
    response.headers.insert(LOCATION, location);
    response.cookies.extend(session.filter(|it| !it.is_empty()));
    response
}

pub(crate) fn let_out() -> LambdaFunctionUrlResponse {
    let_in("/login", Some(end_of_session()))
}

fn answer(
    status: StatusCode,
    content_type: &'static str,
    policy: &str,
    body: Option<String>,
) -> LambdaFunctionUrlResponse {
    let always = ALWAYS.map(|(name, value)| (name, HeaderValue::from_static(value)));
    let mut headers = HeaderMap::from_iter(always);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(policy) = HeaderValue::from_str(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response(status, headers, body)
}
