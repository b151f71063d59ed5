//! What callers are answered: a model as JSON, or what is wrong with the request.

use aws_lambda_events::lambda_function_urls::LambdaFunctionUrlResponse;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::json;
use shared::function_url::{BadEvent, response};
use shared::ids::RegionName;
use thiserror::Error;

use crate::auth::{AuthError, CHALLENGES};
use crate::gather::GatherError;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD");

/// Of every answer: it is true for a moment, and for whoever has the token; no page may frame it
/// or take it for a script.
const ALWAYS: [(HeaderName, &str); 5] = [
    (CACHE_CONTROL, "no-store"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
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

impl Rejection {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Event(BadEvent::TooLarge(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Event(_) | Self::Before => StatusCode::BAD_REQUEST,
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

    pub(crate) fn response(&self) -> LambdaFunctionUrlResponse {
        let body = match self {
            // As SimpleScaleVM's callers read it.
            Self::Unavailable(_) => json!({ "status": 0, "error": self.name() }),
            _ => json!({ "error": self.name(), "message": self.to_string() }),
        };
        let mut response = as_json(self.status(), &body);
        match self {
            Self::Method => {
                response.headers.insert(ALLOW, METHODS);
            }
            Self::Auth(_) => {
                response.headers.insert(WWW_AUTHENTICATE, CHALLENGES);
            }
            _ => {}
        }
        response
    }
}

/// Renders a model.
pub(crate) fn as_json(status: StatusCode, model: &impl Serialize) -> LambdaFunctionUrlResponse {
    let always = ALWAYS.map(|(name, value)| (name, HeaderValue::from_static(value)));
    let mut headers = HeaderMap::from_iter(always);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Strings, numbers and lists of them: this cannot fail.
    response(status, headers, serde_json::to_string(model).ok())
}
