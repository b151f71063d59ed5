//! One region's items in the scaling table, and how they change.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use shared::ids::{LaunchId, Owner, RegionName};
use shared::lock::{CLOCK_MARGIN, Lease, LockAttempt, LockError, WakeMark};
use shared::model::{Intent, LaunchTally, Refusal};
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
    pub refusals: BTreeMap<String, Refusal>,
    pub launches: LaunchTally,
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
    /// When the newest decision was made, or the lock was first acquired, in milliseconds since 1970.
    pub decided_at: i64,
}

impl Held {
    /// Whether it excludes others, whose clocks may differ.
    fn is_in_force(&self, now: Timestamp) -> bool {
        self.expires_at >= (now - CLOCK_MARGIN).as_millisecond()
    }

    fn lease(&self, region: &RegionName) -> Lease {
        Lease {
            region: region.clone(),
            owner: self.owner.clone(),
            version: self.version,
            expires_at: Timestamp::from_millisecond(self.expires_at).unwrap_or(Timestamp::MAX),
            decided_at: Timestamp::from_millisecond(self.decided_at).ok(),
        }
    }
}

impl RegionItems {
    /// Whether nobody else could acquire the lock.
    pub fn is_held(&self, now: Timestamp) -> bool {
        self.lock.as_ref().is_some_and(|held| held.is_in_force(now))
    }

    /// Acquires the lock if it is free or expired.
    pub fn acquire(
        &mut self,
        region: &RegionName,
        owner: &Owner,
        now: Timestamp,
        lease: Duration,
    ) -> LockAttempt {
        let (mut version, mut decided_at) = (1, now.as_millisecond());
        if let Some(held) = &self.lock {
            if held.is_in_force(now) {
                let lease = held.lease(region);
                return if held.owner == *owner {
                    LockAttempt::Acquired(lease)
                } else {
                    LockAttempt::Held {
                        until: lease.expires_at,
                        decided_at: lease.decided_at,
                    }
                };
            }
            (version, decided_at) = (held.version + 1, held.decided_at);
        }
        let held = Held {
            owner: owner.clone(),
            version,
            expires_at: (now + lease).as_millisecond(),
            since: now.as_millisecond(),
            decided_at,
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

    /// What a pass reads at its start, without forgotten refusals.
    pub fn region_state(&self, now: Timestamp) -> RegionState {
        RegionState {
            wake_mark: self.wake_mark.clone(),
            open_intents: self.open.values().cloned().collect(),
            refusals: self
                .refusals
                .values()
                .filter(|refusal| refusal.remembered_until() > now)
                .cloned()
                .collect(),
            launches: self.launches.clone(),
            unknown_since: self.replicas.unknown_since.clone(),
            address_moves: self.replicas.address_moves.clone(),
        }
    }

    /// Moves intents to the closed ones, and stores their refusals.
    pub fn close(&mut self, closures: &[IntentClosure], launches: &LaunchTally) {
        self.launches = launches.clone();
        for closure in closures {
            self.open.remove(&closure.launch_id);
            self.closed.push(closure.clone());
            if let Some(refusal) = &closure.refusal {
                self.refusals.insert(refusal.key(), refusal.clone());
            }
        }
    }

    /// Stores open intents, with the tally that counts them.
    pub fn open(&mut self, intents: &[Intent], launches: &LaunchTally) {
        let intents = intents.iter();
        self.open
            .extend(intents.map(|intent| (intent.launch_id.clone(), intent.clone())));
        self.launches = launches.clone();
    }

    /// Stores refusals, and deletes others.
    pub fn record_refusals(&mut self, refusals: &[Refusal], forgotten: &[Refusal]) {
        for refusal in refusals {
            self.refusals.insert(refusal.key(), refusal.clone());
        }
        for refusal in forgotten {
            self.refusals.remove(&refusal.key());
        }
    }
}
