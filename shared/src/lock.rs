//! One region's lock, its lease and its wake mark.

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use crate::db::Fence;
use crate::ids::{Owner, RegionName};

/// Tolerance for clocks of Lambda hosts that differ: a lease counts as expired only this much
/// later, and its holder stops this much earlier.
pub const CLOCK_MARGIN: SignedDuration = SignedDuration::from_secs(2);

/// An acquired lock, and how long it is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub region: RegionName,
    pub owner: Owner,
    /// The fencing token: 1 more than the previous holder's.
    pub version: i64,
    pub expires_at: Timestamp,
    /// When the newest decision of the region was made as this lease was acquired; before the first
    /// one, when the region's lock was acquired first. None for a lock of an earlier version of the
    /// service.
    pub decided_at: Option<Timestamp>,
}

impl Lease {
    pub fn fence(&self) -> Fence {
        Fence {
            region: self.region.clone(),
            version: self.version,
        }
    }

    /// Whether an operation of at most this duration ends before another pass can hold the lock.
    pub fn outlasts(&self, at_most: Duration, now: Timestamp) -> bool {
        let left = self.expires_at.duration_since(now) - CLOCK_MARGIN;
        SignedDuration::try_from(at_most).is_ok_and(|needed| left > needed)
    }
}

/// The outcome of an attempt to acquire a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockAttempt {
    Acquired(Lease),
    /// Another pass holds it until then.
    Held {
        until: Timestamp,
        /// As [`Lease::decided_at`]; none, too, while a transaction of the holder touches the lock.
        decided_at: Option<Timestamp>,
    },
}

impl LockAttempt {
    /// When the newest decision of the region was made, if that is known.
    pub fn decided_at(&self) -> Option<Timestamp> {
        match self {
            Self::Acquired(lease) => lease.decided_at,
            Self::Held { decided_at, .. } => *decided_at,
        }
    }
}

/// A region's wake mark, which asks the lock's holder for one more round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WakeMark {
    /// Unique each time that the mark is set.
    pub id: String,
    /// The id of the event or request that set it.
    pub by: String,
}

/// Regions' locks and wake marks, and the events that were seen.
#[async_trait]
pub trait RegionLock: Send + Sync {
    /// Acquires the lock if it is free or expired. An attempt that finds its own `owner` has
    /// succeeded before, and its answer was lost.
    async fn acquire(
        &self,
        region: &RegionName,
        owner: &Owner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<LockAttempt, LockError>;

    /// Whether a pass holds the lock at `now`.
    async fn is_held(&self, region: &RegionName, now: Timestamp) -> Result<bool, LockError>;

    /// Releases the lock.
    ///
    /// # Errors
    /// [`LockError::Lost`] if another pass has acquired it since.
    async fn release(&self, lease: &Lease) -> Result<(), LockError>;

    /// Raises the lock's version above the fence. Needed after the table was created anew or
    /// restored: without it, the fence would reject every pass from then on.
    ///
    /// # Errors
    /// [`LockError::Lost`] if another pass has acquired the lock since.
    async fn advance_past_fence(&self, lease: &Lease, in_force: i64) -> Result<Lease, LockError>;

    /// Sets the wake mark, replacing any other: a mark that is about to be cleared stands for an
    /// earlier wake. `by` is the id of the event or request, for the log.
    async fn set_wake_mark(
        &self,
        region: &RegionName,
        by: &str,
        now: Timestamp,
    ) -> Result<(), LockError>;

    /// Clears this mark, but no later one: a delayed clear must not remove a wake that no pass has
    /// handled.
    async fn clear_wake_mark(&self, region: &RegionName, mark: &WakeMark) -> Result<(), LockError>;

    async fn has_wake_mark(&self, region: &RegionName) -> Result<bool, LockError>;

    /// Whether the event's id was recorded.
    async fn is_seen(&self, event_id: &str) -> Result<bool, LockError>;

    /// Records an event's id; false if it was recorded before. To be called after the event's wake
    /// marks are durable.
    async fn record_seen(&self, event_id: &str, now: Timestamp) -> Result<bool, LockError>;
}

#[derive(Debug, Error)]
pub enum LockError {
    /// DynamoDB did not answer: the operation may or may not have happened.
    #[error("DynamoDB did not {operation}: {reason}")]
    Unavailable {
        operation: &'static str,
        reason: String,
    },
    /// Another pass has acquired the lock since.
    #[error("the lock on {region} was lost: version {version} is not in force any more")]
    Lost { region: RegionName, version: i64 },
    #[error("item {key} of the scaling table is invalid: {problem}")]
    BadItem { key: String, problem: String },
}
