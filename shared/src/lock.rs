//! One region's lock, its lease and its wake mark.

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use crate::db::Fence;
use crate::ids::{Owner, RegionName};

/// Clocks of Lambda hosts differ a little: a lease counts as expired only this much later,
/// and its holder stops this much earlier.
pub const CLOCK_MARGIN: SignedDuration = SignedDuration::from_secs(2);

/// A lock that was acquired, and how long it may be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub region: RegionName,
    pub owner: Owner,
    /// Grows by one with each holder: the fencing token.
    pub version: i64,
    pub expires_at: Timestamp,
}

impl Lease {
    pub fn fence(&self) -> Fence {
        Fence {
            region: self.region.clone(),
            version: self.version,
        }
    }

    /// Whether something that may take `at_most` ends before anybody else can hold the lock.
    pub fn outlasts(&self, at_most: Duration, now: Timestamp) -> bool {
        let left = self.expires_at.duration_since(now) - CLOCK_MARGIN;
        SignedDuration::try_from(at_most).is_ok_and(|needed| left > needed)
    }
}

/// What an attempt to acquire a lock came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockAttempt {
    Acquired(Lease),
    /// Somebody else holds it until then.
    Held {
        until: Timestamp,
    },
}

/// One setting of a region's wake mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WakeMark {
    /// Of this setting: unique, never used again.
    pub id: String,
    /// The id of whoever set it.
    pub by: String,
}

/// One region's lock and wake mark.
#[async_trait]
pub trait RegionLock: Send + Sync {
    /// Takes the lock if it is free or expired. An attempt that finds its own owner has
    /// succeeded before, and the answer was lost.
    async fn acquire(
        &self,
        region: &RegionName,
        owner: &Owner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<LockAttempt, LockError>;

    /// Gives the lock back; [`LockError::Lost`] if somebody else has taken it since.
    async fn release(&self, lease: &Lease) -> Result<(), LockError>;

    /// Lifts the lock's version above the fence that is in force, for a table that was made anew
    /// or restored: without it, no pass would ever be let through again. Only its holder can;
    /// [`LockError::Lost`] if somebody else has taken it since.
    async fn advance_past_fence(&self, lease: &Lease, in_force: i64) -> Result<Lease, LockError>;

    /// Marks the region as wanted, over whatever mark there is: one that is about to be cleared
    /// stands for an earlier wake. `by` is the id of whoever wants it, for the log.
    async fn set_wake_mark(
        &self,
        region: &RegionName,
        by: &str,
        now: Timestamp,
    ) -> Result<(), LockError>;

    /// Clears this mark and no later one: a clearing that arrives late must not take a wake
    /// with it that nobody has looked for.
    async fn clear_wake_mark(&self, region: &RegionName, mark: &WakeMark) -> Result<(), LockError>;

    async fn has_wake_mark(&self, region: &RegionName) -> Result<bool, LockError>;

    /// Whether an event's id was recorded.
    async fn is_seen(&self, event_id: &str) -> Result<bool, LockError>;

    /// Records an event's id; false if it was recorded before. Called only once the event's
    /// wake is durable.
    async fn record_seen(&self, event_id: &str, now: Timestamp) -> Result<bool, LockError>;
}

#[derive(Debug, Error)]
pub enum LockError {
    /// No answer, or none from DynamoDB: it may or may not have happened.
    #[error("ask DynamoDB to {operation}: {reason}")]
    Unavailable {
        operation: &'static str,
        reason: String,
    },
    /// Another pass has taken the lock since.
    #[error("the lock on {region} was lost: version {version} is not in force any more")]
    Lost { region: RegionName, version: i64 },
    #[error("the item {key} in the scaling table cannot be read: {problem}")]
    BadItem { key: String, problem: String },
}
