//! One region's items in the scaling table, and how they change.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use shared::ids::{LaunchId, Owner, RegionName};
use shared::lock::{CLOCK_MARGIN, Lease, LockAttempt, LockError, WakeMark};
use shared::model::{CapacityRefusal, Intent};
use shared::report::Decision;
use shared::store::{IntentClosure, RegionState, ReplicaRecord};

/// The items of a region.
#[derive(Clone, Debug, Default)]
pub struct RegionItems {
    pub lock: Option<Held>,
    pub wake_mark: Option<WakeMark>,
    pub open: BTreeMap<LaunchId, Intent>,
    /// In the order in which they were closed.
    pub closed: Vec<IntentClosure>,
    /// By the item's key, expired ones included.
    pub refusals: BTreeMap<String, CapacityRefusal>,
    /// By the lock's version.
    pub decisions: BTreeMap<i64, Decision>,
    pub replicas: ReplicaRecord,
}

/// The item of a lock. A released lock has expired in 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub owner: Owner,
    pub version: i64,
    /// In milliseconds since 1970, as in the item.
    pub expires_at: i64,
    /// When its holder acquired it, in milliseconds since 1970.
    pub since: i64,
}

impl Held {
    fn lease(&self, region: &RegionName) -> Lease {
        Lease {
            region: region.clone(),
            owner: self.owner.clone(),
            version: self.version,
            expires_at: Timestamp::from_millisecond(self.expires_at).unwrap_or(Timestamp::MAX),
        }
    }
}

impl RegionItems {
    /// Acquires the lock if it is free or expired.
    pub fn acquire(
        &mut self,
        region: &RegionName,
        owner: &Owner,
        now: Timestamp,
        lease: Duration,
    ) -> LockAttempt {
        let expired_before = (now - CLOCK_MARGIN).as_millisecond();
        let mut version = 1;
        if let Some(held) = &self.lock {
            if held.expires_at >= expired_before {
                let lease = held.lease(region);
                return if held.owner == *owner {
                    LockAttempt::Acquired(lease)
                } else {
                    LockAttempt::Held {
                        until: lease.expires_at,
                    }
                };
            }
            version = held.version + 1;
        }
        let held = Held {
            owner: owner.clone(),
            version,
            expires_at: (now + lease).as_millisecond(),
            since: now.as_millisecond(),
        };
        let lease = held.lease(region);
        self.lock = Some(held);
        LockAttempt::Acquired(lease)
    }

    /// The lock, if it is held under this lease. An expired lease is valid until another pass
    /// acquires the lock.
    ///
    /// # Errors
    /// [`LockError::Lost`].
    pub fn check(&mut self, lease: &Lease) -> Result<&mut Held, LockError> {
        self.lock
            .as_mut()
            .filter(|held| held.owner == lease.owner && held.version == lease.version)
            .ok_or_else(|| LockError::Lost {
                region: lease.region.clone(),
                version: lease.version,
            })
    }

    /// What a pass reads at its start, without expired refusals.
    pub fn region_state(&self, now: Timestamp) -> RegionState {
        RegionState {
            wake_mark: self.wake_mark.clone(),
            open_intents: self.open.values().cloned().collect(),
            refusals: self
                .refusals
                .values()
                .filter(|refusal| refusal.until > now)
                .cloned()
                .collect(),
            unknown_since: self.replicas.unknown_since.clone(),
            address_moves: self.replicas.address_moves.clone(),
        }
    }

    /// Moves an intent to the closed ones, and stores its refusal.
    pub fn close(&mut self, closure: &IntentClosure) {
        self.open.remove(&closure.launch_id);
        self.closed.push(closure.clone());
        if let Some(refusal) = &closure.refusal {
            self.refusals.insert(refusal.key(), refusal.clone());
        }
    }
}
