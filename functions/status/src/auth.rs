//! Who may look: whoever has the token. Programs send it as a bearer token, browsers as the
//! password of HTTP Basic, under any user name.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

/// Of both schemes, in one line: a function URL keeps one value of a header. Basic comes first,
/// because browsers look at the first one of a line.
pub(crate) const CHALLENGES: HeaderValue =
    HeaderValue::from_static(r#"Basic realm="status", charset="UTF-8", Bearer realm="status""#);

#[derive(Clone, Debug)]
pub enum Access {
    Token(SecretString),
    /// To everybody: `STATUS_AUTH=none`.
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

impl Access {
    /// # Errors
    /// When the request brings no token, or another one.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), AuthError> {
        let Self::Token(token) = self else {
            return Ok(());
        };
        let header = headers.get(AUTHORIZATION).ok_or(AuthError::Missing)?;
        let given = given(header.as_bytes()).ok_or(AuthError::Scheme)?;
        // In constant time: an answer that comes sooner would tell how much of it was right.
        aws_lc_rs::constant_time::verify_slices_are_equal(&given, token.expose_secret().as_bytes())
            .map_err(|_| AuthError::Wrong)
    }
}

/// The token as either scheme brings it.
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
    // A user name has no colon in it, a password may.
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a token: of thirty-two bytes and more";

    fn check(header: Option<&str>) -> Result<(), AuthError> {
        let access = Access::Token(SecretString::from(TOKEN));
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(AUTHORIZATION, HeaderValue::from_str(header).unwrap());
        }
        access.check(&headers)
    }

    fn basic(credentials: &str) -> String {
        format!("Basic {}", STANDARD.encode(credentials))
    }

    #[test]
    fn the_token_is_let_in_by_either_scheme() {
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
    fn anything_else_is_not() {
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
    fn where_it_is_switched_off_everybody_is_let_in() {
        assert_eq!(Access::Open.check(&HeaderMap::new()), Ok(()));
    }

    #[test]
    fn the_token_is_not_in_what_is_printed() {
        let access = Access::Token(SecretString::from(TOKEN));
        assert!(!format!("{access:?}").contains(TOKEN));
    }
}
