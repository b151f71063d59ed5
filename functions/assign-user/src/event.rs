//! The event of a function URL, opened: its path, method, headers and body.

use aws_lambda_events::lambda_function_urls::LambdaFunctionUrlRequest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde_json::Value;
use thiserror::Error;

/// A body with 64 regions, all names at their longest, has 10 kB.
const LARGEST_BODY: usize = 64 * 1024;

/// An event that no function URL sends, or a body that is no body.
#[derive(Debug, Error)]
pub(crate) enum BadEvent {
    #[error("this is no event of a Lambda function URL (payload version 2.0): {0}")]
    NotAFunctionUrl(#[source] serde_json::Error),
    #[error("the body may have {LARGEST_BODY} bytes at most")]
    TooLarge,
    #[error("the body is marked as base64 and is not")]
    NotBase64,
}

/// Not `Debug`: it holds the caller's token.
pub(crate) struct HttpEvent(LambdaFunctionUrlRequest);

impl HttpEvent {
    /// # Errors
    /// When `event` is something else: somebody invoked the function by hand.
    pub(crate) fn parse(event: Value) -> Result<Self, BadEvent> {
        serde_json::from_value(event)
            .map(Self)
            .map_err(BadEvent::NotAFunctionUrl)
    }

    /// Without the slash that some gateways add at the end.
    pub(crate) fn path(&self) -> &str {
        let path = self.0.raw_path.as_deref().unwrap_or_default();
        path.strip_suffix('/').unwrap_or(path)
    }

    pub(crate) fn method(&self) -> &str {
        self.0
            .request_context
            .http
            .method
            .as_deref()
            .unwrap_or_default()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// # Errors
    /// When the body is too large or wrongly encoded.
    pub(crate) fn body(&self) -> Result<Vec<u8>, BadEvent> {
        let text = self.0.body.as_deref().unwrap_or_default();
        if !self.0.is_base64_encoded {
            return at_most(LARGEST_BODY, text).map(|text| text.as_bytes().to_vec());
        }
        let longest = base64::encoded_len(LARGEST_BODY, true).unwrap_or(usize::MAX);
        STANDARD
            .decode(at_most(longest, text)?)
            .map_err(|_| BadEvent::NotBase64)
    }
}

fn at_most(longest: usize, text: &str) -> Result<&str, BadEvent> {
    if text.len() > longest {
        Err(BadEvent::TooLarge)
    } else {
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
        assert_eq!(event("{}", false).body().unwrap(), b"{}");
        assert_eq!(event("e30=", true).body().unwrap(), b"{}");
        assert!(matches!(event("{}", true).body(), Err(BadEvent::NotBase64)));
    }

    #[test]
    fn bodies_are_bounded_before_they_are_decoded() {
        let fits = "x".repeat(LARGEST_BODY);
        assert!(event(&fits, false).body().is_ok());
        assert!(event(&STANDARD.encode(&fits), true).body().is_ok());
        let large = "x".repeat(LARGEST_BODY + 4);
        assert!(matches!(
            event(&large, false).body(),
            Err(BadEvent::TooLarge)
        ));
        assert!(matches!(
            event(&STANDARD.encode(&large), true).body(),
            Err(BadEvent::TooLarge)
        ));
    }

    #[test]
    fn a_slash_at_the_end_makes_no_difference() {
        assert_eq!(event("", false).path(), "/mandelbox/assign");
    }
}
