//! HTTP as every client of the service uses it: no redirects, no content coding that was not
//! requested, and bodies of bounded size.
//!
//! A process has one client, because reading the system's certificates is most of a cold start.

mod body;

use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};
use thiserror::Error;

pub use body::{BodyError, bounded_body};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Idle connections are closed after this time. The default of 90 s is longer than the minute
/// between two passes, and than others keep them: a load balancer of AWS 60 s, Hasura's own server
/// 30 s, and Lambda does not say how long while the environment is frozen.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Debug, Error)]
#[error("start the HTTP client: {0}")]
pub struct HttpError(#[from] reqwest::Error);

/// The process's client. Each request has to set its own time limit.
///
/// # Errors
/// When the TLS library or the system's certificates cannot be used.
pub fn client() -> Result<Client, HttpError> {
    Ok(builder().connect_timeout(CONNECT_TIMEOUT).build()?)
}

/// The rules of every client. It does not follow redirects, so that a secret is never sent to
/// another host. It asks for bodies as they are: answers are small, and compressing them would cost
/// more than it saves. Servers that compress anyway are understood by [`bounded_body`].
pub fn builder() -> ClientBuilder {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Client::builder()
        .pool_idle_timeout(IDLE_TIMEOUT)
        .redirect(Policy::none())
        .default_headers(headers)
}
