//! Which web pages may call: Cross-Origin Resource Sharing, as the Fetch standard defines it.
//!
//! It is implemented here instead of in the function URL's configuration, so that it is the same
//! behind every gateway and in every test. If two layers added the headers, browsers would reject the
//! answer.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue};

/// How long browsers may cache the answer to a preflight, in seconds. Chromium caps it at two hours.
const PREFLIGHT_MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// The setting `ALLOWED_ORIGINS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigins {
    Any,
    These(Vec<HeaderValue>),
}

impl AllowedOrigins {
    /// None when `text` is neither `*` nor a list of origins in the spelling of browsers: an origin
    /// in another spelling would never match.
    pub fn parse(text: &str) -> Option<Self> {
        if text.trim() == "*" {
            return Some(Self::Any);
        }
        text.split(',')
            .map(|origin| parse_origin(origin.trim()))
            .collect::<Option<_>>()
            .map(Self::These)
    }

    /// Whether the request's origin may call. A browser would hide the answer from another origin's
    /// page, but the slot would be taken: such a request is rejected. Only browsers send `Origin`.
    pub(crate) fn allow(&self, request: &HeaderMap) -> bool {
        match (self, request.get(ORIGIN)) {
            (Self::Any, _) | (Self::These(_), None) => true,
            (Self::These(allowed), Some(origin)) => allowed.contains(origin),
        }
    }

    /// Adds the headers of every answer. Errors need them too: without them, a page cannot read why
    /// its request failed.
    pub(crate) fn mark(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        // Pages can read only a few headers of an answer otherwise.
        answer.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("retry-after"),
        );
        match self {
            Self::Any => {
                answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Self::These(allowed) => {
                answer.insert(VARY, HeaderValue::from_static("origin"));
                if let Some(origin) = request
                    .get(ORIGIN)
                    .filter(|origin| allowed.contains(origin))
                {
                    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                }
            }
        }
    }

    /// Adds the headers that only the answer to a preflight has.
    pub(crate) fn mark_preflight(answer: &mut HeaderMap) {
        answer.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("POST, DELETE"),
        );
        // `authorization` must be listed: `*` does not include it.
        answer.insert(
            ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("authorization, content-type"),
        );
        answer.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE);
    }
}

fn parse_origin(origin: &str) -> Option<HeaderValue> {
    let (scheme, host) = origin.split_once("://")?;
    let written_as_browsers_do = !scheme.is_empty()
        && !host.is_empty()
        && !host.contains(['/', '?', '#', '@', '*'])
        && origin
            .chars()
            .all(|c| c.is_ascii_graphic() && !c.is_ascii_uppercase());
    written_as_browsers_do
        .then(|| HeaderValue::from_str(origin).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(origin: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(origin))])
    }

    fn marked(origins: &AllowedOrigins, request: &HeaderMap) -> HeaderMap {
        let mut answer = HeaderMap::new();
        origins.mark(request, &mut answer);
        answer
    }

    #[test]
    fn star_allows_every_origin() {
        let origins = AllowedOrigins::parse(" * ").unwrap();
        let request = from("https://a.example");
        assert!(origins.allow(&request));
        assert_eq!(marked(&origins, &request)[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    }

    #[test]
    fn list_allows_its_origins_and_requests_without_origin() {
        let origins = AllowedOrigins::parse("https://a.example, chrome-extension://abc").unwrap();
        let named = from("https://a.example");
        assert!(origins.allow(&named));
        assert_eq!(
            marked(&origins, &named)[ACCESS_CONTROL_ALLOW_ORIGIN],
            "https://a.example"
        );
        assert_eq!(marked(&origins, &named)[VARY], "origin");
        assert!(origins.allow(&from("chrome-extension://abc")));
        assert!(origins.allow(&HeaderMap::new()));
        for foreign in [
            "https://b.example",
            "http://a.example",
            "https://a.example.evil",
            "null",
        ] {
            assert!(!origins.allow(&from(foreign)), "{foreign}");
            let answer = marked(&origins, &from(foreign));
            assert!(
                !answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN),
                "{foreign}"
            );
        }
    }

    #[test]
    fn origin_in_another_spelling_than_browsers_is_invalid() {
        let odd = [
            "",
            ",",
            "a.example",
            "https://a.example/",
            "https://",
            "https://*.a",
            "HTTPS://a",
        ];
        for bad in odd {
            assert_eq!(AllowedOrigins::parse(bad), None, "{bad}");
        }
        assert_eq!(AllowedOrigins::parse("https://a.example,"), None);
    }
}
