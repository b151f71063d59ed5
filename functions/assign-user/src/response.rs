//! What callers are answered: one shape for slots and errors, and the status of each error.

use aws_lambda_events::lambda_function_urls::LambdaFunctionUrlResponse;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use shared::assign::{AssignRefusal, Assignment};
use startup::function_url::{BadEvent, response};
use thiserror::Error;

use crate::auth::AuthError;
use crate::request::BadBody;

/// The methods of both paths.
const METHODS: HeaderValue = HeaderValue::from_static("POST, OPTIONS");

/// The answer as Whist's clients read it: every field is there, empty when it does not apply.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct AnswerBody<'a> {
    ip: &'a str,
    mandelbox_id: &'a str,
    region: &'a str,
    /// The name of what went wrong.
    error: &'a str,
    /// What the caller has to change, where it is the caller's mistake.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// Why a request gets no slot.
#[derive(Debug, Error)]
pub(crate) enum Rejection {
    #[error(transparent)]
    Event(#[from] BadEvent),
    #[error("there is nothing here: POST to /mandelbox/assign")]
    Path,
    #[error("only POST is understood here")]
    Method,
    #[error("pages of this origin may not call")]
    Origin,
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Body(#[from] BadBody),
    #[error("no slot: {}", .0.name())]
    Refused(AssignRefusal),
    /// Ours to mend; its cause is in the log.
    #[error("the service cannot answer now")]
    Unavailable,
}

impl Rejection {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Event(BadEvent::TooLarge(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Event(_) | Self::Body(_) => StatusCode::BAD_REQUEST,
            Self::Path => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Origin | Self::Auth(AuthError::NotAUser(_)) => StatusCode::FORBIDDEN,
            Self::Auth(AuthError::Missing | AuthError::Refused(_)) => StatusCode::UNAUTHORIZED,
            Self::Auth(AuthError::KeysUnavailable) | Self::Refused(_) | Self::Unavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match (self, self.status()) {
            (Self::Refused(refusal), _) => refusal.name(),
            (_, StatusCode::NOT_FOUND) => "NOT_FOUND",
            (_, StatusCode::METHOD_NOT_ALLOWED) => "METHOD_NOT_ALLOWED",
            (_, StatusCode::PAYLOAD_TOO_LARGE) => "PAYLOAD_TOO_LARGE",
            (_, StatusCode::UNAUTHORIZED) => "UNAUTHORIZED",
            (_, StatusCode::FORBIDDEN) => "FORBIDDEN",
            (_, StatusCode::SERVICE_UNAVAILABLE) => "SERVICE_UNAVAILABLE",
            _ => "BAD_REQUEST",
        }
    }

    pub(crate) fn response(&self) -> LambdaFunctionUrlResponse {
        let status = self.status();
        let message = status.is_client_error().then(|| self.to_string());
        let body = AnswerBody {
            error: self.name(),
            message,
            ..AnswerBody::default()
        };
        let mut response = json(status, &body);
        match self {
            Self::Method => {
                response.headers.insert(ALLOW, METHODS);
            }
            // RFC 6750, section 3.1: no error code when the request had no token.
            Self::Auth(AuthError::Missing) => {
                response
                    .headers
                    .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Auth(AuthError::Refused(_)) => {
                let invalid = HeaderValue::from_static(r#"Bearer error="invalid_token""#);
                response.headers.insert(WWW_AUTHENTICATE, invalid);
            }
            _ => {}
        }
        response
    }
}

pub(crate) fn assigned(assignment: &Assignment) -> LambdaFunctionUrlResponse {
    let body = AnswerBody {
        ip: &assignment.ip,
        mandelbox_id: &assignment.slot_id,
        region: assignment.region.as_str(),
        ..AnswerBody::default()
    };
    json(StatusCode::OK, &body)
}

/// The answer to `OPTIONS`, a preflight or not.
pub(crate) fn options() -> LambdaFunctionUrlResponse {
    let headers = HeaderMap::from_iter([(ALLOW, METHODS)]);
    response(StatusCode::NO_CONTENT, headers, None)
}

fn json(status: StatusCode, body: &AnswerBody<'_>) -> LambdaFunctionUrlResponse {
    let headers = HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        // Every answer is one user's, and true for a moment.
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]);
    // Strings only: this cannot fail.
    response(status, headers, serde_json::to_string(body).ok())
}
