//! One HTTP client for a process: reading the system's certificates is most of a cold start,
//! so it is done once.

use std::time::Duration;

use thiserror::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, Error)]
#[error("start the HTTP client: {0}")]
pub struct HttpError(#[from] reqwest::Error);

/// Follows no redirects: a secret, or trust in an address, must not move on to another host.
/// Each request brings its own time limit.
///
/// # Errors
/// When the TLS library or the system's certificates cannot be used.
pub fn client() -> Result<reqwest::Client, HttpError> {
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    Ok(builder.build()?)
}

/// What kept a body from being read.
#[derive(Debug, Error)]
pub enum BodyError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// Reads a body that may be `limit` bytes long at most, whatever its sender says.
///
/// # Errors
/// When it is longer, or breaks off.
pub async fn bounded_body(
    mut response: reqwest::Response,
    limit: usize,
) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Err(BodyError::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
