//! For `doctor`: whether this function could verify tokens with the key set.

use std::time::Duration;

use async_trait::async_trait;
use http_client::bounded_body;
use shared::doctor::facts::KeySet as Found;
use shared::doctor::ports::{KeySetProbe, ProbeError};

use crate::jwks::KeySet;

/// For one fetch, including the connection. Nobody waits for it but an operator.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// As when keys are fetched for users.
const LARGEST_KEY_SET: usize = 256 * 1024;

/// Fetches a key set and reads it as `assign-user` does.
#[derive(Clone, Debug)]
pub struct KeySetCheck {
    pub http: reqwest::Client,
    /// `JWKS_URL`.
    pub url: String,
}

#[async_trait]
impl KeySetProbe for KeySetCheck {
    async fn keys(&self) -> Result<Found, ProbeError> {
        let failed = |error: anyhow::Error| ProbeError::Unavailable(format!("{error:#}"));
        let request = self.http.get(&self.url).timeout(FETCH_TIMEOUT);
        let response = request.send().await.map_err(|error| failed(error.into()))?;
        let status = response.status();
        if !status.is_success() {
            return Ok(Found::Unusable(format!("JWKS_URL answers {status}")));
        }
        let body = bounded_body(response, LARGEST_KEY_SET).await;
        let body = body.map_err(|error| failed(error.into()))?;
        Ok(match KeySet::parse(&body) {
            Ok(_) => Found::Usable,
            Err(bad) => Found::Unusable(format!("{:#}", anyhow::Error::from(bad))),
        })
    }
}
