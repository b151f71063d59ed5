//! Caches the identity provider's keys between invocations.

use std::sync::Arc;
use std::time::Duration;

use http_client::{BodyError, bounded_body};
use jiff::{SignedDuration, Timestamp};
use reqwest::Url;
use shared::clock::Clock;
use thiserror::Error;
use tokio::sync::Mutex;

use crate::jwks::{BadKeySet, KeySet, SkippedKeys, VerificationKey};

/// Keys older than this are fetched again, so that a withdrawn key stops working.
const FRESH: SignedDuration = SignedDuration::from_mins(15);

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

impl FetchError {
    /// Whether the provider did answer, with a key set in which no key can be used.
    fn is_without_keys(&self) -> bool {
        matches!(
            self,
            Self::BadKeySet(BadKeySet::Empty | BadKeySet::NoUsableKey(_))
        )
    }
}

/// Finds keys by id, and fetches the key set when it is missing, old, or lacks the id.
#[derive(Debug)]
pub struct KeyCache {
    http: reqwest::Client,
    url: Url,
    /// Keys that were fetched longer ago are not used, even if no others can be fetched.
    kept: SignedDuration,
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
    /// Of the last set.
    skipped: SkippedKeys,
}

impl KeyCache {
    /// A cache of the key set at `url`. Keys are used for `kept` after their fetch.
    pub fn new(
        http: reqwest::Client,
        url: Url,
        kept: SignedDuration,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            http,
            url,
            kept,
            clock,
            cached: Mutex::default(),
        }
    }

    /// The keys with this id, at least one. While the provider is unreachable, keys are used until
    /// they are too old, so that a short outage does not keep users out.
    pub(crate) async fn find(&self, id: Option<&str>) -> Result<Vec<Arc<VerificationKey>>, NoKey> {
        let mut cached = self.cached.lock().await;
        let now = self.clock.now();
        cached.drop_older_than(self.kept, now);
        if cached.is_fresh(now)
            && let Some(keys) = cached.find(id)
        {
            return Ok(keys);
        }
        if cached.may_fetch(now) {
            let fetched = self.fetch().await;
            if let Err(error) = &fetched
                && error.is_without_keys()
            {
                // All keys are withdrawn.
                cached.keys = None;
            }
            let fetched = fetched
                .map_err(anyhow::Error::from)
                .inspect_err(|error| self.log_failure(error, &cached));
            cached.note(now, fetched.ok());
        }
        cached.find(id).ok_or_else(|| cached.why_not())
    }

    fn log_failure(&self, error: &anyhow::Error, cached: &Cached) {
        let until = cached.fetched.filter(|_| cached.keys.is_some());
        let until = until.and_then(|at| at.checked_add(self.kept).ok());
        let reason = match until {
            Some(until) => format!("the keys of the last fetch are used until {until:.0}"),
            None => "there are no keys: every user gets SERVICE_UNAVAILABLE".to_owned(),
        };
        tracing::error!(
            error = format!("{error:#}"),
            reason,
            "key fetch from JWKS_URL failed"
        );
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
    fn find(&self, id: Option<&str>) -> Option<Vec<Arc<VerificationKey>>> {
        let keys = self.keys.as_ref()?.find(id);
        (!keys.is_empty()).then_some(keys)
    }

    /// Forgets keys that were fetched too long ago: the provider may have withdrawn them since.
    fn drop_older_than(&mut self, kept: SignedDuration, now: Timestamp) {
        if self
            .fetched
            .is_some_and(|at| now.duration_since(at) >= kept)
        {
            self.keys = None;
        }
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
            self.warn_of_skipped(&keys);
            self.keys = Some(keys);
            self.fetched = Some(now);
        }
    }

    /// Once, and again when it changes: a key for another purpose stays in the set for years.
    fn warn_of_skipped(&mut self, new: &KeySet) {
        if !new.skipped.is_empty() && self.skipped != new.skipped {
            tracing::warn!(reason = %new.skipped, "keys of JWKS_URL skipped");
        }
        self.skipped = new.skipped.clone();
    }

    /// While the provider is unreachable, an unknown key may be a new one.
    fn why_not(&self) -> NoKey {
        match self.attempt {
            Some((_, false)) if self.keys.is_some() => NoKey::Unknown,
            _ => NoKey::Unavailable,
        }
    }
}
