//! The ports of passes: locks and stored state.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use shared::ids::{Owner, RegionName};
use shared::lock::{Lease, LockAttempt, LockError, RegionLock, WakeMark};
use shared::model::{Intent, LaunchTally, Refusal};
use shared::report::Decision;
use shared::store::{IntentClosure, RegionState, ReplicaRecord, StateStore};

use super::table::FakeStore;

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

    async fn is_held(&self, region: &RegionName, now: Timestamp) -> Result<bool, LockError> {
        Ok(self.call("is_held")?.of(region).is_held(now))
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
        let set = &mut items.of(region).wake_mark;
        set.take_if(|set| set.id == mark.id);
        Ok(())
    }

    async fn has_wake_mark(&self, region: &RegionName) -> Result<bool, LockError> {
        let mut items = self.call("has_wake_mark")?;
        if items.wake_again > 0 {
            items.wake_again -= 1;
            items.mark(region, "another event");
        }
        Ok(items.of(region).wake_mark.is_some())
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

    async fn open_intents(
        &self,
        lease: &Lease,
        intents: &[Intent],
        launches: &LaunchTally,
    ) -> Result<(), LockError> {
        self.call("open_intents")?
            .under(lease)?
            .open(intents, launches);
        Ok(())
    }

    async fn record_refusals(
        &self,
        lease: &Lease,
        refusals: &[Refusal],
        forgotten: &[Refusal],
    ) -> Result<(), LockError> {
        self.call("record_refusals")?
            .under(lease)?
            .record_refusals(refusals, forgotten);
        Ok(())
    }

    async fn close_intents(
        &self,
        lease: &Lease,
        closures: &[IntentClosure],
        launches: &LaunchTally,
    ) -> Result<(), LockError> {
        self.call("close_intents")?
            .under(lease)?
            .close(closures, launches);
        Ok(())
    }

    async fn record_replicas(
        &self,
        lease: &Lease,
        record: &ReplicaRecord,
    ) -> Result<(), LockError> {
        self.call("record_replicas")?.under(lease)?.replicas = record.clone();
        Ok(())
    }

    async fn record_decision(&self, lease: &Lease, decision: &Decision) -> Result<(), LockError> {
        let mut items = self.call("record_decision")?;
        let items = items.under(lease)?;
        if let Some(held) = &mut items.lock {
            held.decided_at = decision.at.as_millisecond();
        }
        items.decisions.insert(decision.version, decision.clone());
        Ok(())
    }
}
