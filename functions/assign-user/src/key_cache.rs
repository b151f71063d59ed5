//! The identity provider's keys, kept between invocations.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::jwks::{BadKeySet, KeySet, VerificationKey};

/// After this the keys are fetched again, so that a key that was withdrawn stops working.
const FRESH: Duration = Duration::from_secs(3600);

/// Between two fetches: whoever makes up key ids makes us ask the provider no more often.
const BETWEEN_FETCHES: Duration = Duration::from_secs(30);

/// Between two fetches while there are no keys at all and nobody can be served.
const BETWEEN_FIRST_FETCHES: Duration = Duration::from_secs(1);

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
    #[error("the answer is larger than {LARGEST_KEY_SET} bytes")]
    TooLarge,
    #[error(transparent)]
    BadKeySet(#[from] BadKeySet),
}

/// Finds keys by id, and fetches them when it has to.
#[derive(Debug)]
pub struct KeyCache {
    http: reqwest::Client,
    url: Url,
    /// Held while fetching: whoever else needs a key waits for that fetch instead of making
    /// another. An execution environment has one invocation at a time, so nobody else waits.
    cached: Mutex<Cached>,
}

#[derive(Debug, Default)]
struct Cached {
    keys: Option<KeySet>,
    fetched: Option<Instant>,
    /// The last attempt, and whether it failed.
    attempt: Option<(Instant, bool)>,
}

impl KeyCache {
    /// # Errors
    /// When the TLS library cannot start.
    pub fn new(url: Url) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .timeout(FETCH_TIMEOUT)
            // The keys are those of the address that was configured, not of one it points to.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            http,
            url,
            cached: Mutex::default(),
        })
    }

    /// Keys that are no longer fresh serve on while the provider cannot be asked: its outage
    /// locks nobody out.
    pub(crate) async fn find(&self, id: Option<&str>) -> Result<Arc<VerificationKey>, NoKey> {
        let mut cached = self.cached.lock().await;
        let now = Instant::now();
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
        let mut response = self.http.get(self.url.clone()).send().await?;
        if !response.status().is_success() {
            return Err(FetchError::Status(response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > LARGEST_KEY_SET {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(KeySet::parse(&body)?)
    }
}

impl Cached {
    fn find(&self, id: Option<&str>) -> Option<Arc<VerificationKey>> {
        self.keys.as_ref()?.find(id)
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.fetched
            .is_some_and(|at| now.duration_since(at) < FRESH)
    }

    fn may_fetch(&self, now: Instant) -> bool {
        let pause = if self.keys.is_some() {
            BETWEEN_FETCHES
        } else {
            BETWEEN_FIRST_FETCHES
        };
        self.attempt
            .is_none_or(|(at, _)| now.duration_since(at) >= pause)
    }

    fn note(&mut self, now: Instant, fetched: Option<KeySet>) {
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
