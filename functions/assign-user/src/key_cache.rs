//! The identity provider's keys, kept between invocations.

use std::sync::Arc;
use std::time::Duration;

use http_client::{BodyError, bounded_body};
use jiff::{SignedDuration, Timestamp};
use reqwest::Url;
use shared::clock::Clock;
use thiserror::Error;
use tokio::sync::Mutex;

use crate::jwks::{BadKeySet, KeySet, VerificationKey};

/// After this the keys are fetched again, so that a key that was withdrawn stops working.
const FRESH: SignedDuration = SignedDuration::from_hours(1);

/// Between two fetches: whoever makes up key ids makes us ask the provider no more often.
const BETWEEN_FETCHES: SignedDuration = SignedDuration::from_secs(30);

/// Between two fetches while there are no keys at all and nobody can be served.
const BETWEEN_FIRST_FETCHES: SignedDuration = SignedDuration::from_secs(1);

/// For one fetch, connecting included: users wait for it, Hasura's share of the function's
/// time limit comes after it.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);

/// Key sets are a few kilobytes.
const LARGEST_KEY_SET: usize = 256 * 1024;

/// Why there is no key to verify a token with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// The provider has no such key.
    Unknown,
    /// It could not be asked.
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

/// Finds keys by id, and fetches them when it has to.
#[derive(Debug)]
pub struct KeyCache {
    http: reqwest::Client,
    url: Url,
    clock: Arc<dyn Clock>,
    /// Held while fetching: whoever else needs a key waits for that fetch instead of making
    /// another. An execution environment has one invocation at a time, so nobody else waits.
    cached: Mutex<Cached>,
}

#[derive(Debug, Default)]
struct Cached {
    keys: Option<KeySet>,
    fetched: Option<Timestamp>,
    /// The last attempt, and whether it failed.
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

    /// Keys that are no longer fresh serve on while the provider cannot be asked: its outage
    /// locks nobody out.
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
                        "cannot fetch the keys of JWKS_URL"
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

    /// An unknown key may be a new one, as long as the provider cannot be asked.
    fn why_not(&self) -> NoKey {
        match self.attempt {
            Some((_, false)) => NoKey::Unknown,
            _ => NoKey::Unavailable,
        }
    }
}
