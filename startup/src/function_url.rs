//! The event of a function URL, opened: its path, method, headers and body.

use aws_lambda_events::lambda_function_urls::{
    LambdaFunctionUrlRequest, LambdaFunctionUrlResponse,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::COOKIE;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use thiserror::Error;

/// An event that no function URL sends, or a body that is no body.
#[derive(Debug, Error)]
pub enum BadEvent {
    #[error("this is no event of a Lambda function URL (payload version 2.0): {0}")]
    NotAFunctionUrl(#[source] serde_json::Error),
    #[error("the body may have {0} bytes at most")]
    TooLarge(usize),
    #[error("the body is marked as base64 and is not")]
    NotBase64,
}

/// One request.
#[expect(missing_debug_implementations, reason = "it holds the caller's token")]
pub struct HttpEvent(LambdaFunctionUrlRequest);

impl HttpEvent {
    /// # Errors
    /// When `event` is something else: somebody invoked the function by hand.
    pub fn parse(event: Value) -> Result<Self, BadEvent> {
        serde_json::from_value(event)
            .map(Self)
            .map_err(BadEvent::NotAFunctionUrl)
    }

    /// Without the slash that some gateways add at the end.
    pub fn path(&self) -> &str {
        let path = self.raw_path();
        path.strip_suffix('/').unwrap_or(path)
    }

    /// As it was sent.
    pub fn raw_path(&self) -> &str {
        self.0.raw_path.as_deref().unwrap_or_default()
    }

    /// The values of all cookies of that name: AWS gives cookies apart from the headers.
    pub fn cookies<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e str> {
        let apart = self.0.cookies.iter().flatten().map(String::as_str);
        let headers = self.headers().get_all(COOKIE).into_iter();
        apart
            .chain(headers.filter_map(|value| value.to_str().ok()))
            .flat_map(|line| line.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .filter(move |(given, _)| *given == name)
            .map(|(_, value)| value)
    }

    /// The value of the query's first parameter of that name, as it was sent; empty if it has
    /// none.
    pub fn query(&self, name: &str) -> Option<&str> {
        let query = self.0.raw_query_string.as_deref().unwrap_or_default();
        let mut parameters = query.split('&');
        parameters.find_map(|parameter| match parameter.split_once('=') {
            Some((given, value)) => (given == name).then_some(value),
            None => (parameter == name).then_some(""),
        })
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

    /// # Errors
    /// When the body is too large or wrongly encoded.
    pub fn body(&self, largest: usize) -> Result<Vec<u8>, BadEvent> {
        let text = self.0.body.as_deref().unwrap_or_default();
        // Bounded before it is decoded.
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

/// `LambdaFunctionUrlResponse` is non-exhaustive: it is filled in, not written down.
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
    fn bodies_are_decoded() {
        assert_eq!(event("{}", false).body(LARGEST).unwrap(), b"{}");
        assert_eq!(event("e30=", true).body(LARGEST).unwrap(), b"{}");
        assert!(matches!(
            event("{}", true).body(LARGEST),
            Err(BadEvent::NotBase64)
        ));
    }

    #[test]
    fn bodies_are_bounded_before_they_are_decoded() {
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
    fn cookies_are_found_apart_from_the_headers_and_among_them() {
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
    fn a_slash_at_the_end_makes_no_difference() {
        assert_eq!(event("", false).path(), "/mandelbox/assign");
    }
}
