//! A table with a defect: the lock, the wake marks, the intents.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use shared::ids::{ClientToken, Owner, RegionName};
use shared::lock::{CLOCK_MARGIN, Lease, LockAttempt, LockError, RegionLock, WakeMark};
use shared::model::{Intent, LaunchTally, Refusal};
use shared::report::Decision;
use shared::store::{IntentClosure, RegionState, ReplicaRecord, StateStore};
use testing::FakeStore;

use crate::world::World;

/// A defect of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableDefect {
    /// The lock is granted to everyone.
    GrantsToEveryone,
    /// A lease expires by the caller's clock, without a margin.
    IgnoresClockMargin,
    /// Writes do not check the lock.
    IgnoresLock,
    /// Intents are reported as written and not written.
    RecordsNoIntent,
    /// A pass reads no open intents.
    ReturnsNoIntents,
    /// A pass reads no refusals.
    ReturnsNoRefusals,
    /// A pass reads that nothing was launched in the last hour.
    ReturnsNoLaunches,
    /// An intent is closed as soon as it is opened.
    ClosesIntentsEarly,
    /// The recorded intent has another token than the launch request.
    RecordsAnotherToken,
    /// An event's id is recorded as seen when it is looked up.
    RecordsSeenEarly,
    /// The wake mark is never found after the release.
    FindsNoWakeMark,
    /// Any wake mark is cleared, not only the one that was read.
    ClearsAnyMark,
}

pub(super) fn break_table(world: &mut World, defect: TableDefect) {
    let broken = Arc::new(BrokenTable {
        inner: world.store.clone(),
        defect,
    });
    world.backends.lock = broken.clone();
    world.backends.store = broken;
}

struct BrokenTable {
    inner: Arc<FakeStore>,
    defect: TableDefect,
}

impl BrokenTable {
    fn is(&self, defect: TableDefect) -> bool {
        self.defect == defect
    }

    /// The lease of the present holder.
    fn lease(&self, lease: &Lease) -> Lease {
        let mut lease = lease.clone();
        if self.is(TableDefect::IgnoresLock)
            && let Some(held) = &self.inner.items().of(&lease.region).lock
        {
            lease.owner = held.owner.clone();
            lease.version = held.version;
        }
        lease
    }
}

#[async_trait]
impl RegionLock for BrokenTable {
    async fn acquire(
        &self,
        region: &RegionName,
        owner: &Owner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<LockAttempt, LockError> {
        match self.defect {
            TableDefect::GrantsToEveryone => {
                if let Some(held) = &mut self.inner.items().of(region).lock {
                    held.expires_at = 0;
                }
                self.inner.acquire(region, owner, now, lease).await
            }
            TableDefect::IgnoresClockMargin => {
                // Cancels the margin that the table adds.
                let later = now + CLOCK_MARGIN;
                self.inner.acquire(region, owner, later, lease).await
            }
            _ => self.inner.acquire(region, owner, now, lease).await,
        }
    }

    async fn is_held(&self, region: &RegionName, now: Timestamp) -> Result<bool, LockError> {
        self.inner.is_held(region, now).await
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
        if self.is(TableDefect::ClearsAnyMark) {
            self.inner.items().of(region).wake_mark = None;
            return Ok(());
        }
        self.inner.clear_wake_mark(region, mark).await
    }

    async fn has_wake_mark(&self, region: &RegionName) -> Result<bool, LockError> {
        Ok(!self.is(TableDefect::FindsNoWakeMark) && self.inner.has_wake_mark(region).await?)
    }

    async fn is_seen(&self, event_id: &str) -> Result<bool, LockError> {
        if self.is(TableDefect::RecordsSeenEarly) {
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
impl StateStore for BrokenTable {
    async fn region_state(
        &self,
        region: &RegionName,
        now: Timestamp,
    ) -> Result<RegionState, LockError> {
        let mut state = self.inner.region_state(region, now).await?;
        if self.is(TableDefect::ReturnsNoRefusals) {
            state.refusals.clear();
        }
        if self.is(TableDefect::ReturnsNoLaunches) {
            state.launches = LaunchTally::default();
        }
        if self.is(TableDefect::ReturnsNoIntents) {
            state.open_intents.clear();
        }
        Ok(state)
    }

    async fn open_intents(
        &self,
        lease: &Lease,
        intents: &[Intent],
        launches: &LaunchTally,
    ) -> Result<(), LockError> {
        if self.is(TableDefect::RecordsNoIntent) {
            return Ok(());
        }
        let mut intents = intents.to_vec();
        if self.is(TableDefect::RecordsAnotherToken) {
            for intent in &mut intents {
                intent.client_token = ClientToken::new(format!("not {}", intent.client_token));
            }
        }
        self.inner
            .open_intents(&self.lease(lease), &intents, launches)
            .await?;
        if self.is(TableDefect::ClosesIntentsEarly) {
            let closures = intents.iter().map(|intent| IntentClosure {
                launch_id: intent.launch_id.clone(),
                outcome: "too early".to_owned(),
                refusal: None,
            });
            let closures: Vec<_> = closures.collect();
            self.inner.close_intents(lease, &closures, launches).await?;
        }
        Ok(())
    }

    async fn close_intents(
        &self,
        lease: &Lease,
        closures: &[IntentClosure],
        launches: &LaunchTally,
    ) -> Result<(), LockError> {
        self.inner
            .close_intents(&self.lease(lease), closures, launches)
            .await
    }

    async fn record_refusals(
        &self,
        lease: &Lease,
        refusals: &[Refusal],
        forgotten: &[Refusal],
    ) -> Result<(), LockError> {
        self.inner
            .record_refusals(&self.lease(lease), refusals, forgotten)
            .await
    }

    async fn record_replicas(
        &self,
        lease: &Lease,
        record: &ReplicaRecord,
    ) -> Result<(), LockError> {
        self.inner.record_replicas(&self.lease(lease), record).await
    }

    async fn record_decision(&self, lease: &Lease, decision: &Decision) -> Result<(), LockError> {
        self.inner
            .record_decision(&self.lease(lease), decision)
            .await
    }
}
