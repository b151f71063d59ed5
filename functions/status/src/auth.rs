//! Access for callers that have the token. Programs send it as a bearer token, or as the password of
//! HTTP Basic with any user name. A browser sends it once, in a form, and then has a signed cookie, which
//! names a session. Whoever has a copy of the cookie has the session, until it ends.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderValue;
use http::header::AUTHORIZATION;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use startup::function_url::HttpEvent;
use thiserror::Error;

/// Both schemes in one line, because a function URL keeps one value of a header. Basic is first,
/// because clients use the first scheme of a line.
///
/// A function URL renames this header, so that clients see a challenge only behind a proxy that
/// renames it back. Nothing may rest on it.
pub(crate) const CHALLENGES: HeaderValue =
    HeaderValue::from_static(r#"Basic realm="status", charset="UTF-8", Bearer realm="status""#);

/// For answers to browsers: with Basic, they would show a dialogue instead of the form.
pub(crate) const CHALLENGE_OF_A_PAGE: HeaderValue =
    HeaderValue::from_static(r#"Bearer realm="status""#);

/// The name of the session cookie.
const COOKIE: &str = "scaling_status";

/// How long a session lasts. Then the browser has to send the token again.
const SESSION: SignedDuration = SignedDuration::from_hours(12);

#[derive(Clone, Debug)]
pub enum Access {
    Token(SecretString),
    /// Every caller has access: `STATUS_AUTH=none`.
    Open,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AuthError {
    #[error(
        "send the status token: `Authorization: Bearer TOKEN`, or as the password of HTTP Basic"
    )]
    Missing,
    #[error("the header `authorization` is neither `Bearer TOKEN` nor `Basic` with base64")]
    Scheme,
    #[error("this is not the status token")]
    Wrong,
}

/// How a request was authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// By its header, or access is open.
    Header,
    /// By a session cookie with a valid signature. Whether the session has ended is not checked yet.
    Session(Session),
}

/// A session, as its cookie names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: String,
    /// When it ends by itself.
    pub until: Timestamp,
}

impl Access {
    /// # Errors
    /// When the token is missing or wrong.
    pub fn check(&self, event: &HttpEvent, now: Timestamp) -> Result<Admission, AuthError> {
        let Self::Token(token) = self else {
            return Ok(Admission::Header);
        };
        let Some(header) = event.headers().get(AUTHORIZATION) else {
            let mut sessions = event
                .cookies(COOKIE)
                .filter_map(|cookie| session(token, cookie, now));
            let session = sessions.next().ok_or(AuthError::Missing)?;
            return Ok(Admission::Session(session));
        };
        let given = given(header.as_bytes()).ok_or(AuthError::Scheme)?;
        self.verify(&given).map(|()| Admission::Header)
    }

    /// # Errors
    /// When the token is wrong.
    pub fn verify(&self, given: &[u8]) -> Result<(), AuthError> {
        let Self::Token(token) = self else {
            return Ok(());
        };
        // In constant time: an earlier answer would show how much of the token was right.
        aws_lc_rs::constant_time::verify_slices_are_equal(given, token.expose_secret().as_bytes())
            .map_err(|_| AuthError::Wrong)
    }

    /// The `Set-Cookie` header of a new session: its end and its id, signed with the token, so that a
    /// new token ends all sessions. `id` is unique and cannot be guessed.
    ///
    /// The cookie has no path, so that it is valid below the path of the log-in only: locally, several
    /// services share one host.
    pub(crate) fn new_session(&self, id: &str, now: Timestamp) -> String {
        let Self::Token(token) = self else {
            return String::new();
        };
        let seconds = SESSION.as_secs();
        let named = format!("{}.{id}", now.as_second() + seconds);
        let tag = URL_SAFE_NO_PAD.encode(hmac::sign(&key(token), named.as_bytes()));
        format!("{COOKIE}={named}.{tag}; Max-Age={seconds}; HttpOnly; Secure; SameSite=Lax")
    }
}

/// The `Set-Cookie` header that makes a browser forget its session.
pub(crate) fn end_of_session() -> String {
    format!("{COOKIE}=; Max-Age=0; HttpOnly; Secure; SameSite=Lax")
}

fn key(token: &SecretString) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, token.expose_secret().as_bytes())
}

/// The session of a cookie; none if it is forged or over.
fn session(token: &SecretString, cookie: &str, now: Timestamp) -> Option<Session> {
    let (named, tag) = cookie.rsplit_once('.')?;
    let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
    // Compares in constant time.
    hmac::verify(&key(token), named.as_bytes(), &tag).ok()?;
    let (until, id) = named.split_once('.')?;
    let until = Timestamp::from_second(until.parse().ok()?).ok()?;
    let id = id.to_owned();
    (now < until).then_some(Session { id, until })
}

/// The token of either scheme; none if the header is malformed.
fn given(header: &[u8]) -> Option<Vec<u8>> {
    let space = header.iter().position(|byte| *byte == b' ')?;
    let (scheme, credentials) = header.split_at(space);
    let credentials = credentials.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(credentials.to_vec());
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let decoded = STANDARD.decode(credentials).ok()?;
    // A user name cannot contain a colon, a password can.
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a token: of thirty-two bytes and more";

    fn now() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    fn event(headers: &serde_json::Value, cookies: &[&str]) -> HttpEvent {
        let event = serde_json::json!({
            "version": "2.0", "headers": headers, "cookies": cookies,
            "requestContext": {"http": {"method": "GET"}, "timeEpoch": 0},
            "isBase64Encoded": false,
        });
        HttpEvent::parse(event).unwrap()
    }

    fn access() -> Access {
        Access::Token(SecretString::from(TOKEN))
    }

    fn check(header: Option<&str>) -> Result<(), AuthError> {
        let headers = match header {
            Some(header) => serde_json::json!({ "authorization": header }),
            None => serde_json::json!({}),
        };
        let admission = access().check(&event(&headers, &[]), now())?;
        assert_eq!(admission, Admission::Header);
        Ok(())
    }

    /// A request with this cookie, some seconds after the log-in.
    fn return_with(cookie: &str, seconds: i64) -> Result<Admission, AuthError> {
        let later = now() + SignedDuration::from_secs(seconds);
        access().check(&event(&serde_json::json!({}), &[cookie]), later)
    }

    #[test]
    fn session_is_valid_for_twelve_hours() {
        let header = access().new_session("one", now());
        for attribute in ["HttpOnly", "Secure", "SameSite=Lax", "Max-Age=43200"] {
            assert!(header.contains(attribute), "{header}");
        }
        assert!(!header.contains(TOKEN));
        let cookie = header.split(';').next().unwrap();
        let session = Admission::Session(Session {
            id: "one".to_owned(),
            until: now() + SESSION,
        });
        assert_eq!(return_with(cookie, 0), Ok(session.clone()));
        assert_eq!(return_with(cookie, 43_199), Ok(session));
        assert_eq!(return_with(cookie, 43_200), Err(AuthError::Missing));
    }

    #[test]
    fn forged_cookie_is_rejected() {
        let ours = access().new_session("one", now());
        let ours = ours.split(';').next().unwrap();
        assert!(return_with(ours, 0).is_ok());
        let (named, tag) = ours.rsplit_once('.').unwrap();
        let longer = named.replace("scaling_status=1", "scaling_status=9");
        let renamed = named.replace("one", "two");
        let (until, _) = named.split_once('.').unwrap();
        for forged in [&longer, &renamed] {
            assert_ne!(forged, named);
        }
        // As it was before sessions had names.
        let until_only = until.strip_prefix("scaling_status=").unwrap();
        let old_tag = hmac::sign(&key(&SecretString::from(TOKEN)), until_only.as_bytes());
        let other = Access::Token(SecretString::from("another token")).new_session("one", now());
        for cookie in [
            format!("{longer}.{tag}"),
            format!("{renamed}.{tag}"),
            format!("{until}.{tag}"),
            format!("{until}.{}", URL_SAFE_NO_PAD.encode(old_tag)),
            named.to_owned(),
            format!("{named}."),
            format!("{named}.{}", &tag[1..]),
            "scaling_status=".to_owned(),
            end_of_session(),
            other.split(';').next().unwrap().to_owned(),
        ] {
            assert_eq!(return_with(&cookie, 0), Err(AuthError::Missing), "{cookie}");
        }
    }

    fn basic(credentials: &str) -> String {
        format!("Basic {}", STANDARD.encode(credentials))
    }

    #[test]
    fn token_is_accepted_with_either_scheme() {
        for header in [
            format!("Bearer {TOKEN}"),
            format!("bearer {TOKEN}"),
            format!("Bearer   {TOKEN}"),
            basic(&format!("ann:{TOKEN}")),
            basic(&format!(":{TOKEN}")),
            basic(&format!("ann:{TOKEN}")).replace("Basic", "BASIC"),
        ] {
            assert_eq!(check(Some(&header)), Ok(()), "{header}");
        }
    }

    #[test]
    fn other_headers_are_rejected() {
        let cases = [
            (None, AuthError::Missing),
            (Some(String::new()), AuthError::Scheme),
            (Some(TOKEN.replace(' ', "")), AuthError::Scheme),
            (Some(format!("Token {TOKEN}")), AuthError::Scheme),
            (Some("Basic".to_owned()), AuthError::Scheme),
            (Some("Basic %%%".to_owned()), AuthError::Scheme),
            (Some(basic(TOKEN).replace('=', "~")), AuthError::Scheme),
            (Some(basic("without a colon")), AuthError::Scheme),
            (Some("Bearer ".to_owned()), AuthError::Wrong),
            (Some(format!("Bearer {TOKEN}x")), AuthError::Wrong),
            (
                Some(format!("Bearer {}", &TOKEN[..TOKEN.len() - 1])),
                AuthError::Wrong,
            ),
            (Some(format!("Bearer {}", basic(TOKEN))), AuthError::Wrong),
            // The token is the password, not the user.
            (Some(basic("a token:")), AuthError::Wrong),
        ];
        for (header, error) in cases {
            assert_eq!(check(header.as_deref()), Err(error), "{header:?}");
        }
    }

    #[test]
    fn open_access_accepts_every_request() {
        let stranger = event(&serde_json::json!({}), &[]);
        assert_eq!(Access::Open.check(&stranger, now()), Ok(Admission::Header));
        assert_eq!(Access::Open.verify(b"anything"), Ok(()));
    }

    #[test]
    fn debug_output_does_not_contain_the_token() {
        let access = Access::Token(SecretString::from(TOKEN));
        assert!(!format!("{access:?}").contains(TOKEN));
    }
}
