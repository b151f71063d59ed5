//! Caches the identity provider's keys between invocations.

use std::sync::Arc;
use std::time::Duration;

use http_client::{BodyError, bounded_body};
use jiff::{SignedDuration, Timestamp};
use reqwest::Url;
use shared::clock::Clock;
use thiserror::Error;
use tokio::sync::Mutex;

use crate::jwks::{BadKeySet, KeySet, VerificationKey};

/// Keys older than this are fetched again, so that a revoked key stops working.
const FRESH: SignedDuration = SignedDuration::from_hours(1);

/// The shortest time between two fetches, so that tokens with invented key ids do not cause a fetch
/// each.
const BETWEEN_FETCHES: SignedDuration = SignedDuration::from_secs(30);

/// The shortest time between two fetches while there are no keys and no user can be served.
const BETWEEN_FIRST_FETCHES: SignedDuration = SignedDuration::from_secs(1);

/// For one fetch, including the connection. Users wait for it, and the function's time limit must
/// leave time for Hasura afterwards.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);

/// Key sets are a few kilobytes.
const LARGEST_KEY_SET: usize = 256 * 1024;

/// Why there is no key for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// The provider has no such key.
    Unknown,
    /// The provider could not be reached.
    Unavailable,
}

#[derive(Debug, Error)]
enum FetchError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("status {0}")]
    Status(reqwest::StatusCode),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    BadKeySet(#[from] BadKeySet),
}

/// Finds keys by id, and fetches the key set when it is missing, old, or lacks the id.
#[derive(Debug)]
pub struct KeyCache {
    http: reqwest::Client,
    url: Url,
    clock: Arc<dyn Clock>,
    /// Held during a fetch, so that concurrent requests wait for one fetch. In Lambda an execution
    /// environment has one invocation at a time, so that nothing waits for it.
    cached: Mutex<Cached>,
}

#[derive(Debug, Default)]
struct Cached {
    keys: Option<KeySet>,
    fetched: Option<Timestamp>,
    /// The time of the last attempt, and whether it failed.
    attempt: Option<(Timestamp, bool)>,
}

impl KeyCache {
    pub fn new(http: reqwest::Client, url: Url, clock: Arc<dyn Clock>) -> Self {
        Self {
            http,
            url,
            clock,
            cached: Mutex::default(),
        }
    }

    /// Old keys are used while the provider is unreachable, so that its outage does not keep users
    /// out.
    pub(crate) async fn find(&self, id: Option<&str>) -> Result<Arc<VerificationKey>, NoKey> {
        let mut cached = self.cached.lock().await;
        let now = self.clock.now();
        if let Some(key) = cached.find(id).filter(|_| cached.is_fresh(now)) {
            return Ok(key);
        }
        if cached.may_fetch(now) {
            let fetched = self
                .fetch()
                .await
                .map_err(anyhow::Error::from)
                .inspect_err(|error| {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "key fetch from JWKS_URL failed"
                    );
                });
            cached.note(now, fetched.ok());
        }
        cached.find(id).ok_or_else(|| cached.why_not())
    }

    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let request = self.http.get(self.url.clone()).timeout(FETCH_TIMEOUT);
        let response = request.send().await?;
        if !response.status().is_success() {
            return Err(FetchError::Status(response.status()));
        }
        let body = bounded_body(response, LARGEST_KEY_SET).await?;
        Ok(KeySet::parse(&body)?)
    }
}

impl Cached {
    fn find(&self, id: Option<&str>) -> Option<Arc<VerificationKey>> {
        self.keys.as_ref()?.find(id)
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        self.fetched
            .is_some_and(|at| now.duration_since(at) < FRESH)
    }

    fn may_fetch(&self, now: Timestamp) -> bool {
        let pause = if self.keys.is_some() {
            BETWEEN_FETCHES
        } else {
            BETWEEN_FIRST_FETCHES
        };
        self.attempt
            .is_none_or(|(at, _)| now.duration_since(at) >= pause)
    }

    fn note(&mut self, now: Timestamp, fetched: Option<KeySet>) {
        self.attempt = Some((now, fetched.is_none()));
        if let Some(keys) = fetched {
            self.keys = Some(keys);
            self.fetched = Some(now);
        }
    }

    /// While the provider is unreachable, an unknown key may be a new one.
    fn why_not(&self) -> NoKey {
        match self.attempt {
            Some((_, false)) => NoKey::Unknown,
            _ => NoKey::Unavailable,
        }
    }
}
