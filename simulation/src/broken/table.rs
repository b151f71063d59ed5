//! The lock, the marks and the launch log, done wrong.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use shared::ids::{ClientToken, Owner, RegionName};
use shared::lock::{CLOCK_MARGIN, Lease, LockAttempt, LockError, RegionLock, WakeMark};
use shared::model::Intent;
use shared::report::Decision;
use shared::store::{IntentClosure, RegionState, ReplicaRecord, StateStore};
use testing::FakeStore;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locking {
    /// Whoever asks gets the lock.
    GrantsAlways,
    /// Expired is expired, by the clock of whoever asks.
    WithoutMargin,
    /// Writes check no lock.
    WritesUnchecked,
    RecordsNoIntent,
    /// A pass reads no open intents.
    ForgetsIntents,
    /// An intent is closed with the same write that opens it.
    ClosesAtOnce,
    /// What is kept has another token than what is sent.
    KeepsAnotherToken,
    /// An event's id is recorded when it is first looked for.
    SeesTooEarly,
    /// The mark is not read again after the release.
    NeverWanted,
    /// Whichever mark there is now is cleared, not the one that was read.
    ClearsAnyMark,
}

pub(super) struct BadTable {
    inner: Arc<FakeStore>,
    how: Locking,
}

impl BadTable {
    pub(super) fn new(inner: Arc<FakeStore>, how: Locking) -> Self {
        Self { inner, how }
    }

    fn is(&self, how: Locking) -> bool {
        self.how == how
    }

    /// The lease of whoever holds the lock now.
    fn lease(&self, lease: &Lease) -> Lease {
        let mut lease = lease.clone();
        if self.is(Locking::WritesUnchecked)
            && let Some(held) = &self.inner.items().of(&lease.region).lock
        {
            lease.owner = held.owner.clone();
            lease.version = held.version;
        }
        lease
    }
}

#[async_trait]
impl RegionLock for BadTable {
    async fn acquire(
        &self,
        region: &RegionName,
        owner: &Owner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<LockAttempt, LockError> {
        match self.how {
            Locking::GrantsAlways => {
                if let Some(held) = &mut self.inner.items().of(region).lock {
                    held.expires_at = 0;
                }
                self.inner.acquire(region, owner, now, lease).await
            }
            Locking::WithoutMargin => {
                // Takes off again what the table puts on.
                let later = now + CLOCK_MARGIN;
                self.inner.acquire(region, owner, later, lease).await
            }
            _ => self.inner.acquire(region, owner, now, lease).await,
        }
    }

    async fn release(&self, lease: &Lease) -> Result<(), LockError> {
        self.inner.release(lease).await
    }

    async fn advance_past_fence(&self, lease: &Lease, in_force: i64) -> Result<Lease, LockError> {
        self.inner.advance_past_fence(lease, in_force).await
    }

    async fn set_wake_mark(
        &self,
        region: &RegionName,
        by: &str,
        now: Timestamp,
    ) -> Result<(), LockError> {
        self.inner.set_wake_mark(region, by, now).await
    }

    async fn clear_wake_mark(&self, region: &RegionName, mark: &WakeMark) -> Result<(), LockError> {
        if self.is(Locking::ClearsAnyMark) {
            self.inner.items().of(region).wake_mark = None;
            return Ok(());
        }
        self.inner.clear_wake_mark(region, mark).await
    }

    async fn has_wake_mark(&self, region: &RegionName) -> Result<bool, LockError> {
        Ok(!self.is(Locking::NeverWanted) && self.inner.has_wake_mark(region).await?)
    }

    async fn is_seen(&self, event_id: &str) -> Result<bool, LockError> {
        if self.is(Locking::SeesTooEarly) {
            let new = self
                .inner
                .record_seen(event_id, Timestamp::UNIX_EPOCH)
                .await?;
            return Ok(!new);
        }
        self.inner.is_seen(event_id).await
    }

    async fn record_seen(&self, event_id: &str, now: Timestamp) -> Result<bool, LockError> {
        self.inner.record_seen(event_id, now).await
    }
}

#[async_trait]
impl StateStore for BadTable {
    async fn region_state(
        &self,
        region: &RegionName,
        now: Timestamp,
    ) -> Result<RegionState, LockError> {
        let mut memory = self.inner.region_state(region, now).await?;
        if self.is(Locking::ForgetsIntents) {
            memory.open_intents.clear();
        }
        Ok(memory)
    }

    async fn open_intent(&self, lease: &Lease, intent: &Intent) -> Result<(), LockError> {
        if self.is(Locking::RecordsNoIntent) {
            return Ok(());
        }
        let mut intent = intent.clone();
        if self.is(Locking::KeepsAnotherToken) {
            intent.client_token = ClientToken::new(format!("not {}", intent.client_token));
        }
        self.inner.open_intent(&self.lease(lease), &intent).await?;
        if self.is(Locking::ClosesAtOnce) {
            let closing = IntentClosure {
                launch_id: intent.launch_id.clone(),
                outcome: "too early".to_owned(),
                refusal: None,
            };
            self.inner.close_intent(lease, &closing).await?;
        }
        Ok(())
    }

    async fn close_intent(&self, lease: &Lease, closing: &IntentClosure) -> Result<(), LockError> {
        self.inner.close_intent(&self.lease(lease), closing).await
    }

    async fn record_replicas(&self, lease: &Lease, notes: &ReplicaRecord) -> Result<(), LockError> {
        self.inner.record_replicas(&self.lease(lease), notes).await
    }

    async fn record_decision(&self, lease: &Lease, decision: &Decision) -> Result<(), LockError> {
        self.inner
            .record_decision(&self.lease(lease), decision)
            .await
    }
}
