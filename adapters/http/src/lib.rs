//! The process's HTTP client. There is only one, because reading the system's certificates is most
//! of a cold start.

use std::time::Duration;

use thiserror::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, Error)]
#[error("start the HTTP client: {0}")]
pub struct HttpError(#[from] reqwest::Error);

/// A client that does not follow redirects, so that a secret is never sent to another host. Each
/// request has to set its own time limit.
///
/// # Errors
/// When the TLS library or the system's certificates cannot be used.
pub fn client() -> Result<reqwest::Client, HttpError> {
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    Ok(builder.build()?)
}

/// Why a body could not be read.
#[derive(Debug, Error)]
pub enum BodyError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// Reads a body of at most `limit` bytes. The length that the sender declares is not trusted.
///
/// # Errors
/// When the body is longer, or breaks off.
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
