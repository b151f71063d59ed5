//! The answers: one JSON shape for slots and errors, and the status of each error.

use aws_lambda_events::lambda_function_urls::LambdaFunctionUrlResponse;
use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use shared::assign::{
    AssignRefusal, Assignment, BadId, HeldSession, InLine, SessionEnd, SessionId,
};
use startup::function_url::{BadEvent, ErrorBody, error_name, json_response, response};
use thiserror::Error;

use crate::auth::AuthError;
use crate::request::BadBody;

/// The body that Whist's clients read: these four fields are present, and empty when they do not
/// apply.
#[derive(Debug, Default, Serialize)]
struct AnswerBody<'a> {
    ip: &'a str,
    mandelbox_id: &'a str,
    region: &'a str,
    #[serde(flatten)]
    error: ErrorBody,
    #[serde(flatten)]
    line: Option<LineBody>,
    /// The sessions of a user who holds too many slots.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    sessions: &'a [HeldSession],
}

/// The answer to the end of a session.
#[derive(Debug, Serialize)]
struct EndBody<'a> {
    session_id: &'a str,
    /// `ended`, or `ending` while its instance ends it.
    state: &'static str,
    #[serde(flatten)]
    error: ErrorBody,
}

/// The fields that only a refusal for lack of capacity has.
#[derive(Debug, Serialize)]
struct LineBody {
    place: u32,
    estimate_seconds: Option<u32>,
    retry_after_seconds: u32,
}

/// Why a request gets no slot.
#[derive(Debug, Error)]
pub(crate) enum Rejection {
    #[error(transparent)]
    Event(#[from] BadEvent),
    #[error(
        "there is nothing at this path: send POST to /mandelbox/assign, or DELETE with a session after it"
    )]
    Path,
    #[error("the method must be one of {}", .0.to_str().unwrap_or_default())]
    Method(HeaderValue),
    #[error("the session in the path {0}")]
    Session(#[source] BadId),
    #[error("this user has no such session, or it has ended")]
    NoSession,
    #[error("pages of this origin must not call this function (ALLOWED_ORIGINS)")]
    Origin,
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Body(#[from] BadBody),
    #[error("no slot: {}", .0.name())]
    Refused(AssignRefusal, Vec<HeldSession>),
    #[error("no slot: the user is at place {} in line", .line.place)]
    InLine {
        line: InLine,
        retry_after_seconds: u32,
    },
    /// Its cause is in the log only.
    #[error("the service is unavailable")]
    Unavailable,
}

impl Rejection {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Event(BadEvent::TooLarge(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Event(_) | Self::Body(_) | Self::Session(_) => StatusCode::BAD_REQUEST,
            Self::Path | Self::NoSession => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Origin | Self::Auth(AuthError::NotAUser(_)) => StatusCode::FORBIDDEN,
            Self::Auth(AuthError::Missing | AuthError::Refused(_)) => StatusCode::UNAUTHORIZED,
            Self::Auth(AuthError::KeysUnavailable)
            | Self::Refused(..)
            | Self::InLine { .. }
            | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            // A fault of the service: the client would only show its user to update in vain.
            Self::Refused(AssignRefusal::NoImageServed, _) => error_name(self.status()),
            Self::Refused(refusal, _) => refusal.name(),
            Self::InLine { line, .. } => AssignRefusal::NoInstanceAvailable(*line).name(),
            _ => error_name(self.status()),
        }
    }

    pub(crate) fn response(&self) -> LambdaFunctionUrlResponse {
        let status = self.status();
        let error = ErrorBody {
            error: self.name(),
            ..ErrorBody::new(status, self)
        };
        let body = AnswerBody {
            error,
            line: self.line(),
            sessions: match self {
                Self::Refused(_, held) => held,
                _ => &[],
            },
            ..AnswerBody::default()
        };
        let mut response = json_response(status, &body);
        match self {
            Self::Method(methods) => {
                response.headers.insert(ALLOW, methods.clone());
            }
            // RFC 6750, section 3.1: no error code where the request has no token.
            Self::Auth(AuthError::Missing) => {
                response
                    .headers
                    .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Auth(AuthError::Refused(_)) => {
                let invalid = HeaderValue::from_static(r#"Bearer error="invalid_token""#);
                response.headers.insert(WWW_AUTHENTICATE, invalid);
            }
            Self::InLine {
                retry_after_seconds,
                ..
            } => {
                let seconds = HeaderValue::from(*retry_after_seconds);
                response.headers.insert(RETRY_AFTER, seconds);
            }
            _ => {}
        }
        response
    }

    fn line(&self) -> Option<LineBody> {
        match self {
            Self::InLine {
                line,
                retry_after_seconds,
            } => Some(LineBody {
                place: line.place,
                estimate_seconds: line.estimate_seconds,
                retry_after_seconds: *retry_after_seconds,
            }),
            _ => None,
        }
    }
}

pub(crate) fn assigned(assignment: &Assignment) -> LambdaFunctionUrlResponse {
    let body = AnswerBody {
        ip: &assignment.ip,
        mandelbox_id: &assignment.slot_id,
        region: assignment.region.as_str(),
        ..AnswerBody::default()
    };
    json_response(StatusCode::OK, &body)
}

/// The name of the outcome for clients and in the log.
pub(crate) fn state(end: SessionEnd) -> &'static str {
    match end {
        SessionEnd::Ending => "ending",
        SessionEnd::Ended | SessionEnd::Unknown => "ended",
    }
}

pub(crate) fn ended(session: &SessionId, end: SessionEnd) -> LambdaFunctionUrlResponse {
    let body = EndBody {
        session_id: session.as_str(),
        state: state(end),
        error: ErrorBody::default(),
    };
    json_response(StatusCode::OK, &body)
}

/// The answer to `OPTIONS`: a preflight request or another one.
pub(crate) fn options(methods: HeaderValue) -> LambdaFunctionUrlResponse {
    let headers = HeaderMap::from_iter([(ALLOW, methods)]);
    response(StatusCode::NO_CONTENT, headers, None)
}
