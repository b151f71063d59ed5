//! The lock table, in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::ids::{LaunchId, Owner, RegionName};
use crate::lock::{
    Attempt, CLOCK_MARGIN, Closing, LaunchLog, Lease, LockError, RegionLock, RegionMemory, WakeMark,
};
use crate::model::{Intent, Refusal};
use crate::report::Decision;

#[derive(Debug, Default)]
pub struct FakeStore(Mutex<Items>);

#[derive(Debug, Default)]
pub struct Items {
    pub lock: Option<Lease>,
    pub wanted: Option<WakeMark>,
    marks: u64,
    /// The mark is set again this often, each time after it was cleared: constant events.
    pub wake_again: u32,
    pub open: BTreeMap<LaunchId, Intent>,
    pub closed: Vec<Closing>,
    pub refusals: Vec<Refusal>,
    pub seen: BTreeSet<String>,
    pub decisions: Vec<Decision>,
    pub calls: Vec<&'static str>,
    pub next_error: Option<(&'static str, LockError)>,
    /// The next `acquire` takes the lock, but its answer is lost.
    pub lose_next_acquire: bool,
    /// The next `release` gives the lock back, but its answer is lost.
    pub lose_next_release: bool,
}

impl Items {
    /// What `mark_wanted` does.
    pub fn mark(&mut self, by: &str) {
        self.marks += 1;
        self.wanted = Some(WakeMark {
            id: self.marks.to_string(),
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

    fn under(&self, name: &'static str, lease: &Lease) -> Result<MutexGuard<'_, Items>, LockError> {
        let items = self.call(name)?;
        let held = items.lock.as_ref();
        if held.is_some_and(|h| h.owner == lease.owner && h.version == lease.version) {
            return Ok(items);
        }
        Err(LockError::Lost {
            region: lease.region.clone(),
            version: lease.version,
        })
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
    ) -> Result<Attempt, LockError> {
        let mut items = self.call("acquire")?;
        if let Some(held) = &items.lock
            && held.expires_at >= now - CLOCK_MARGIN
        {
            return Ok(if held.owner == *owner {
                Attempt::Acquired(held.clone())
            } else {
                Attempt::Held {
                    until: held.expires_at,
                }
            });
        }
        let lease = Lease {
            region: region.clone(),
            owner: owner.clone(),
            version: items.lock.as_ref().map_or(0, |held| held.version) + 1,
            expires_at: now + lease,
        };
        items.lock = Some(lease.clone());
        if std::mem::take(&mut items.lose_next_acquire) {
            let reason = "answer lost".to_owned();
            return Err(LockError::Unavailable {
                operation: "acquire the lock",
                reason,
            });
        }
        Ok(Attempt::Acquired(lease))
    }

    async fn release(&self, lease: &Lease) -> Result<(), LockError> {
        let mut items = self.under("release", lease)?;
        if let Some(held) = &mut items.lock {
            held.expires_at = Timestamp::UNIX_EPOCH;
        }
        if std::mem::take(&mut items.lose_next_release) {
            let reason = "answer lost".to_owned();
            return Err(LockError::Unavailable {
                operation: "release the lock",
                reason,
            });
        }
        Ok(())
    }

    async fn outbid(&self, lease: &Lease, in_force: i64) -> Result<Lease, LockError> {
        let mut items = self.under("outbid", lease)?;
        let lease = Lease {
            version: in_force + 1,
            ..lease.clone()
        };
        items.lock = Some(lease.clone());
        Ok(lease)
    }

    async fn mark_wanted(
        &self,
        _region: &RegionName,
        by: &str,
        _now: Timestamp,
    ) -> Result<(), LockError> {
        self.call("mark_wanted")?.mark(by);
        Ok(())
    }

    async fn clear_wanted(&self, _region: &RegionName, mark: &WakeMark) -> Result<(), LockError> {
        let mut items = self.call("clear_wanted")?;
        if items.wanted.as_ref().is_some_and(|set| set.id == mark.id) {
            items.wanted = None;
        }
        Ok(())
    }

    async fn is_wanted(&self, _region: &RegionName) -> Result<bool, LockError> {
        let mut items = self.call("is_wanted")?;
        if items.wake_again > 0 {
            items.wake_again -= 1;
            items.mark("somebody");
        }
        Ok(items.wanted.is_some())
    }

    async fn is_seen(&self, event_id: &str) -> Result<bool, LockError> {
        Ok(self.call("is_seen")?.seen.contains(event_id))
    }

    async fn record_seen(&self, event_id: &str, _now: Timestamp) -> Result<bool, LockError> {
        Ok(self.call("record_seen")?.seen.insert(event_id.to_owned()))
    }
}

#[async_trait]
impl LaunchLog for FakeStore {
    async fn memory(
        &self,
        _region: &RegionName,
        now: Timestamp,
    ) -> Result<RegionMemory, LockError> {
        let items = self.call("memory")?;
        Ok(RegionMemory {
            wanted: items.wanted.clone(),
            open_intents: items.open.values().cloned().collect(),
            refusals: items
                .refusals
                .iter()
                .filter(|r| r.until > now)
                .cloned()
                .collect(),
        })
    }

    async fn open_intent(&self, lease: &Lease, intent: &Intent) -> Result<(), LockError> {
        let mut items = self.under("open_intent", lease)?;
        items.open.insert(intent.launch_id.clone(), intent.clone());
        Ok(())
    }

    async fn close_intent(&self, lease: &Lease, closing: &Closing) -> Result<(), LockError> {
        let mut items = self.under("close_intent", lease)?;
        items.open.remove(&closing.launch_id);
        items.refusals.extend(closing.refusal.clone());
        items.closed.push(closing.clone());
        Ok(())
    }

    async fn record_decision(&self, lease: &Lease, decision: &Decision) -> Result<(), LockError> {
        self.under("record_decision", lease)?
            .decisions
            .push(decision.clone());
        Ok(())
    }
}
