//! The lock table, in memory: what the adapter on DynamoDB does, under the same conditions. That
//! it is the same is tested against the local AWS, in `tests/tests/fakes`.

mod history;
mod items;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

pub use items::{Held, RegionItems};

use shared::ids::{Owner, RegionName};
use shared::lock::{Lease, LockAttempt, LockError, RegionLock, WakeMark};
use shared::model::Intent;
use shared::report::Decision;
use shared::store::{IntentClosure, RegionState, ReplicaRecord, StateStore};

/// The table behind the ports of the lock and of the launch log.
#[derive(Debug, Default)]
pub struct FakeStore(Mutex<Items>);

/// The table's items, and what a test wants to know or to happen.
#[derive(Debug, Default)]
pub struct Items {
    pub regions: BTreeMap<RegionName, RegionItems>,
    pub seen: BTreeSet<String>,
    /// How many wake marks were ever set: their ids count them.
    pub marks_set: u64,
    /// A region is wanted again this often, each time after its mark was cleared: constant events.
    pub wake_again: u32,
    pub calls: Vec<&'static str>,
    pub next_error: Option<(&'static str, LockError)>,
    /// The next `acquire` takes the lock, but its answer is lost.
    pub lose_next_acquire: bool,
    /// The next `release` gives the lock back, but its answer is lost.
    pub lose_next_release: bool,
}

impl Items {
    pub fn of(&mut self, region: &RegionName) -> &mut RegionItems {
        self.regions.entry(region.clone()).or_default()
    }

    /// The region's items, if its lock is this lease's.
    ///
    /// # Errors
    /// [`LockError::Lost`].
    pub fn under(&mut self, lease: &Lease) -> Result<&mut RegionItems, LockError> {
        let items = self.of(&lease.region);
        items.check(lease)?;
        Ok(items)
    }

    /// Sets the region's wake mark anew.
    pub fn mark(&mut self, region: &RegionName, by: &str) {
        self.marks_set += 1;
        self.of(region).wanted = Some(WakeMark {
            id: format!("mark-{}", self.marks_set),
            by: by.to_owned(),
        });
    }
}

impl FakeStore {
    pub fn items(&self) -> MutexGuard<'_, Items> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, name: &'static str) -> Result<MutexGuard<'_, Items>, LockError> {
        let mut items = self.items();
        items.calls.push(name);
        if items
            .next_error
            .as_ref()
            .is_some_and(|(call, _)| *call == name)
            && let Some((_, error)) = items.next_error.take()
        {
            return Err(error);
        }
        Ok(items)
    }
}

#[async_trait]
impl RegionLock for FakeStore {
    async fn acquire(
        &self,
        region: &RegionName,
        owner: &Owner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<LockAttempt, LockError> {
        let mut items = self.call("acquire")?;
        let attempt = items.of(region).acquire(region, owner, now, lease);
        let acquired = matches!(attempt, LockAttempt::Acquired(_));
        if acquired && std::mem::take(&mut items.lose_next_acquire) {
            return Err(LockError::Unavailable {
                operation: "acquire the lock",
                reason: "answer lost".to_owned(),
            });
        }
        Ok(attempt)
    }

    async fn release(&self, lease: &Lease) -> Result<(), LockError> {
        let mut items = self.call("release")?;
        items.of(&lease.region).check(lease)?.expires_at = 0;
        if std::mem::take(&mut items.lose_next_release) {
            return Err(LockError::Unavailable {
                operation: "release the lock",
                reason: "answer lost".to_owned(),
            });
        }
        Ok(())
    }

    async fn advance_past_fence(&self, lease: &Lease, in_force: i64) -> Result<Lease, LockError> {
        let mut items = self.call("advance_past_fence")?;
        let held = items.of(&lease.region).check(lease)?;
        held.version = in_force + 1;
        Ok(Lease {
            version: held.version,
            ..lease.clone()
        })
    }

    async fn set_wake_mark(
        &self,
        region: &RegionName,
        by: &str,
        _now: Timestamp,
    ) -> Result<(), LockError> {
        self.call("set_wake_mark")?.mark(region, by);
        Ok(())
    }

    async fn clear_wake_mark(&self, region: &RegionName, mark: &WakeMark) -> Result<(), LockError> {
        let mut items = self.call("clear_wake_mark")?;
        let wanted = &mut items.of(region).wanted;
        wanted.take_if(|set| set.id == mark.id);
        Ok(())
    }

    async fn has_wake_mark(&self, region: &RegionName) -> Result<bool, LockError> {
        let mut items = self.call("has_wake_mark")?;
        if items.wake_again > 0 {
            items.wake_again -= 1;
            items.mark(region, "somebody");
        }
        Ok(items.of(region).wanted.is_some())
    }

    async fn is_seen(&self, event_id: &str) -> Result<bool, LockError> {
        Ok(self.call("is_seen")?.seen.contains(event_id))
    }

    async fn record_seen(&self, event_id: &str, _now: Timestamp) -> Result<bool, LockError> {
        Ok(self.call("record_seen")?.seen.insert(event_id.to_owned()))
    }
}

#[async_trait]
impl StateStore for FakeStore {
    async fn region_state(
        &self,
        region: &RegionName,
        now: Timestamp,
    ) -> Result<RegionState, LockError> {
        Ok(self.call("region_state")?.of(region).region_state(now))
    }

    async fn open_intent(&self, lease: &Lease, intent: &Intent) -> Result<(), LockError> {
        let mut items = self.call("open_intent")?;
        let open = &mut items.under(lease)?.open;
        open.insert(intent.launch_id.clone(), intent.clone());
        Ok(())
    }

    async fn close_intent(&self, lease: &Lease, closing: &IntentClosure) -> Result<(), LockError> {
        self.call("close_intent")?.under(lease)?.close(closing);
        Ok(())
    }

    async fn record_replicas(&self, lease: &Lease, notes: &ReplicaRecord) -> Result<(), LockError> {
        self.call("record_replicas")?.under(lease)?.replicas = notes.clone();
        Ok(())
    }

    async fn record_decision(&self, lease: &Lease, decision: &Decision) -> Result<(), LockError> {
        let mut items = self.call("record_decision")?;
        items.under(lease)?;
        items
            .of(&decision.region)
            .decisions
            .insert(decision.version, decision.clone());
        Ok(())
    }
}
