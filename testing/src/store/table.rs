//! All regions' items, and the faults that a test sets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use shared::doctor::Report;
use shared::ids::RegionName;
use shared::lock::{Lease, LockError, WakeMark};

use shared::service::ServiceRecord;

use super::items::RegionItems;

/// The ports [`RegionLock`](shared::lock::RegionLock), [`StateStore`](shared::store::StateStore)
/// and [`History`](shared::history::History) on in-memory items.
#[derive(Debug, Default)]
pub struct FakeStore(Mutex<Items>);

/// The table's items, with the calls that were made and the faults that a test sets.
#[derive(Debug, Default)]
pub struct Items {
    pub regions: BTreeMap<RegionName, RegionItems>,
    pub seen: BTreeSet<String>,
    pub service: ServiceRecord,
    /// When stray instances were last searched for.
    pub searched_at: Option<Timestamp>,
    /// The number of wake marks that were ever set, from which their ids are made.
    pub marks_set: u64,
    /// A region is marked again this many times, each time when the mark is read: constant events.
    pub wake_again: u32,
    /// The names of the calls, in order.
    pub calls: Vec<&'static str>,
    /// Sessions of the status page that have ended, and until when they are listed.
    pub ended_sessions: BTreeMap<String, Timestamp>,
    /// What doctor found when it ran last.
    pub report: Option<Report>,
    /// The next call of this name fails with this error.
    pub next_error: Option<(&'static str, LockError)>,
    /// The next `acquire` gets the lock, but its answer is lost.
    pub lose_next_acquire: bool,
    /// The next `release` takes effect, but its answer is lost.
    pub lose_next_release: bool,
}

impl Items {
    pub fn of(&mut self, region: &RegionName) -> &mut RegionItems {
        self.regions.entry(region.clone()).or_default()
    }

    /// The region's items, if its lock is held under this lease.
    ///
    /// # Errors
    /// [`LockError::Lost`].
    pub fn under(&mut self, lease: &Lease) -> Result<&mut RegionItems, LockError> {
        let items = self.of(&lease.region);
        items.check(lease)?;
        Ok(items)
    }

    /// Sets the region's wake mark, with a new id.
    pub fn mark(&mut self, region: &RegionName, by: &str) {
        self.marks_set += 1;
        self.of(region).wake_mark = Some(WakeMark {
            id: format!("mark-{}", self.marks_set),
            by: by.to_owned(),
        });
    }
}

impl FakeStore {
    pub fn items(&self) -> MutexGuard<'_, Items> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a call, and fails it if the test has set that.
    pub(super) fn call(&self, name: &'static str) -> Result<MutexGuard<'_, Items>, LockError> {
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
