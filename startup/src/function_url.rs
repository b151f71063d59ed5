//! Requests and answers of function URLs. All HTTP functions read events and write JSON answers, error
//! answers among them, with this module.

use std::borrow::Cow;

use aws_lambda_events::lambda_function_urls::{
    LambdaFunctionUrlRequest, LambdaFunctionUrlResponse,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::Value;
use shared::words::plain;
use thiserror::Error;

/// Why an event or its body cannot be read.
#[derive(Debug, Error)]
pub enum BadEvent {
    #[error("this is not an event of a Lambda function URL (payload version 2.0): {}", plain(.0))]
    NotAFunctionUrl(#[source] serde_json::Error),
    #[error("the body is too large: at most {0} bytes are accepted")]
    TooLarge(usize),
    #[error("the body is marked as base64, but is not valid base64")]
    NotBase64,
}

/// One request.
#[expect(missing_debug_implementations, reason = "it holds the caller's token")]
pub struct HttpEvent(LambdaFunctionUrlRequest);

impl HttpEvent {
    /// # Errors
    /// When the event is not from a function URL, as when the function is invoked by hand.
    pub fn parse(event: Value) -> Result<Self, BadEvent> {
        serde_json::from_value(event)
            .map(Self)
            .map_err(BadEvent::NotAFunctionUrl)
    }

    /// The path without the slash that some gateways append.
    pub fn path(&self) -> &str {
        let path = self.raw_path();
        path.strip_suffix('/').unwrap_or(path)
    }

    /// The path as it was sent.
    pub fn raw_path(&self) -> &str {
        self.0.raw_path.as_deref().unwrap_or_default()
    }

    /// The values of all cookies with this name. AWS lists cookies outside of the headers.
    pub fn cookies<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e str> {
        let listed = self.0.cookies.iter().flatten().map(String::as_str);
        let headers = self.headers().get_all(COOKIE).into_iter();
        listed
            .chain(headers.filter_map(|value| value.to_str().ok()))
            .flat_map(|line| line.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .filter(move |(given, _)| *given == name)
            .map(|(_, value)| value)
    }

    /// The decoded value of the first query parameter with this name. Empty if the parameter has no
    /// value.
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        let query = self.0.raw_query_string.as_deref().unwrap_or_default();
        let mut parameters = form_urlencoded::parse(query.as_bytes());
        let (_, value) = parameters.find(|(given, _)| given == name)?;
        Some(value)
    }

    pub fn method(&self) -> &str {
        self.0
            .request_context
            .http
            .method
            .as_deref()
            .unwrap_or_default()
    }

    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// The decoded body, of at most `largest` bytes.
    ///
    /// # Errors
    /// When the body is larger, or is not the base64 that it is marked as.
    pub fn body(&self, largest: usize) -> Result<Vec<u8>, BadEvent> {
        let text = self.0.body.as_deref().unwrap_or_default();
        // Checked before decoding, so that a large body costs nothing.
        let longest = if self.0.is_base64_encoded {
            base64::encoded_len(largest, true).unwrap_or(usize::MAX)
        } else {
            largest
        };
        if text.len() > longest {
            return Err(BadEvent::TooLarge(largest));
        }
        if !self.0.is_base64_encoded {
            return Ok(text.as_bytes().to_vec());
        }
        STANDARD.decode(text).map_err(|_| BadEvent::NotBase64)
    }
}

/// The error part of a JSON answer: the same for all HTTP functions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ErrorBody {
    /// A name for programs, such as `BAD_REQUEST`. Empty where nothing failed.
    pub error: &'static str,
    /// What the caller has to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl ErrorBody {
    /// Callers are told what is wrong with their request. The details of a failure of the service
    /// are in the log only.
    pub fn new(status: StatusCode, error: &impl ToString) -> Self {
        Self {
            error: error_name(status),
            message: status.is_client_error().then(|| error.to_string()),
        }
    }
}

/// The name of an error with this status.
pub fn error_name(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
        StatusCode::FORBIDDEN => "FORBIDDEN",
        StatusCode::NOT_FOUND => "NOT_FOUND",
        StatusCode::METHOD_NOT_ALLOWED => "METHOD_NOT_ALLOWED",
        StatusCode::PAYLOAD_TOO_LARGE => "PAYLOAD_TOO_LARGE",
        StatusCode::SERVICE_UNAVAILABLE => "SERVICE_UNAVAILABLE",
        _ => "BAD_REQUEST",
    }
}

/// An answer with a JSON body. It must not be cached: it is for one caller, at one moment.
pub fn json_response(status: StatusCode, body: &impl Serialize) -> LambdaFunctionUrlResponse {
    let headers = HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]);
    // Bodies consist of strings, numbers, lists and maps with string keys: this cannot fail.
    response(status, headers, serde_json::to_string(body).ok())
}

/// A constructor, because `LambdaFunctionUrlResponse` is non-exhaustive.
pub fn response(
    status: StatusCode,
    headers: HeaderMap,
    body: Option<String>,
) -> LambdaFunctionUrlResponse {
    let mut response = LambdaFunctionUrlResponse::default();
    response.status_code = i64::from(status.as_u16());
    response.headers = headers;
    response.body = body;
    response
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LARGEST: usize = 64 * 1024;

    fn event(body: &str, is_base64: bool) -> HttpEvent {
        HttpEvent::parse(json!({
            "version": "2.0",
            "rawPath": "/mandelbox/assign/",
            "headers": {},
            "requestContext": {"http": {"method": "POST"}, "timeEpoch": 0},
            "body": body,
            "isBase64Encoded": is_base64,
        }))
        .unwrap()
    }

    #[test]
    fn body_marked_as_base64_is_decoded() {
        assert_eq!(event("{}", false).body(LARGEST).unwrap(), b"{}");
        assert_eq!(event("e30=", true).body(LARGEST).unwrap(), b"{}");
        assert!(matches!(
            event("{}", true).body(LARGEST),
            Err(BadEvent::NotBase64)
        ));
    }

    #[test]
    fn body_that_is_too_large_is_rejected_before_it_is_decoded() {
        let fits = "x".repeat(LARGEST);
        assert!(event(&fits, false).body(LARGEST).is_ok());
        assert!(event(&STANDARD.encode(&fits), true).body(LARGEST).is_ok());
        let large = "x".repeat(LARGEST + 4);
        assert!(matches!(
            event(&large, false).body(LARGEST),
            Err(BadEvent::TooLarge(LARGEST))
        ));
        assert!(matches!(
            event(&STANDARD.encode(&large), true).body(LARGEST),
            Err(BadEvent::TooLarge(LARGEST))
        ));
    }

    #[test]
    fn cookies_are_found_in_the_list_and_in_the_headers() {
        let event = HttpEvent::parse(json!({
            "version": "2.0",
            "headers": {"cookie": "a=1; b=2"},
            "cookies": ["b=3", "c=4=5"],
            "requestContext": {"http": {"method": "GET"}, "timeEpoch": 0},
            "isBase64Encoded": false,
        }))
        .unwrap();
        let all = |name| event.cookies(name).collect::<Vec<_>>();
        assert_eq!(all("a"), ["1"]);
        assert_eq!(all("b"), ["3", "2"]);
        assert_eq!(all("c"), ["4=5"]);
        assert_eq!(all("d"), [""; 0]);
    }

    #[test]
    fn path_loses_the_slash_at_its_end() {
        assert_eq!(event("", false).path(), "/mandelbox/assign");
    }

    #[test]
    fn error_of_the_service_has_a_name_and_no_message() {
        let json = |status| serde_json::to_value(ErrorBody::new(status, &"why")).unwrap();
        assert_eq!(
            json(StatusCode::NOT_FOUND),
            json!({"error": "NOT_FOUND", "message": "why"})
        );
        assert_eq!(
            json(StatusCode::SERVICE_UNAVAILABLE),
            json!({"error": "SERVICE_UNAVAILABLE"})
        );
    }
}
