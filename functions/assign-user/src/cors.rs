//! Which web pages may call: Cross-Origin Resource Sharing, as the Fetch standard has it.
//!
//! Done here and not by the function URL, so that it is the same under every gateway and in
//! every test; two layers that both add the headers would make browsers refuse the answer.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue};

/// For how long browsers may remember a preflight's answer. Chromium caps it at two hours.
const REMEMBERED: HeaderValue = HeaderValue::from_static("7200");

/// `ALLOWED_ORIGINS`, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigins {
    Any,
    These(Vec<HeaderValue>),
}

impl AllowedOrigins {
    /// None when `text` is neither `*` nor a list of origins: one that is written in another
    /// way than browsers do would silently match nothing.
    pub fn parse(text: &str) -> Option<Self> {
        if text.trim() == "*" {
            return Some(Self::Any);
        }
        text.split(',')
            .map(|origin| parse_origin(origin.trim()))
            .collect::<Option<_>>()
            .map(Self::These)
    }

    /// Browsers do not let a page read an answer that does not allow it, but the slot would be
    /// taken all the same: so such a request is refused. Only browsers send an origin.
    pub(crate) fn allow(&self, request: &HeaderMap) -> bool {
        match (self, request.get(ORIGIN)) {
            (Self::Any, _) | (Self::These(_), None) => true,
            (Self::These(allowed), Some(origin)) => allowed.contains(origin),
        }
    }

    /// What every answer carries, errors too: without it a page sees only that it failed.
    pub(crate) fn mark(&self, request: &HeaderMap, answer: &mut HeaderMap) {
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

    /// What the answer to a preflight carries besides.
    pub(crate) fn mark_preflight(answer: &mut HeaderMap) {
        answer.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("POST"),
        );
        // `authorization` has to be named: `*` does not cover it.
        answer.insert(
            ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("authorization, content-type"),
        );
        answer.insert(ACCESS_CONTROL_MAX_AGE, REMEMBERED);
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
    fn a_star_allows_everybody() {
        let origins = AllowedOrigins::parse(" * ").unwrap();
        let request = from("https://a.example");
        assert!(origins.allow(&request));
        assert_eq!(marked(&origins, &request)[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    }

    #[test]
    fn a_list_allows_whom_it_names_and_whoever_is_no_browser() {
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
    fn what_no_browser_would_send_is_no_origin() {
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
