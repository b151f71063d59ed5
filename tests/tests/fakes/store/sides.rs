//! The two that must answer alike: the adapter on DynamoDB, and the fake.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Mutex;

use scaling_tests::table::{Item, Table};
use shared::ids::LaunchId;
use shared::lock::{LockError, RegionLock};
use shared::model::{CapacityRefusal, Intent};
use shared::store::{RegionState, StateStore};
use testing::{FakeStore, Held, Items};

use super::steps::{Ask, Step};

/// A store, and the ids of the marks that it has shown.
#[derive(Debug)]
pub(crate) struct Side<S> {
    pub(crate) store: S,
    marks: Mutex<Vec<String>>,
}

impl<S> Side<S> {
    pub(crate) fn of(store: S) -> Self {
        Self {
            store,
            marks: Mutex::default(),
        }
    }

    /// How many marks were shown.
    pub(crate) fn marks(&self) -> usize {
        self.marks.lock().unwrap().len()
    }

    /// The number of a mark: the place of its first showing.
    fn number(&self, id: &str) -> usize {
        let mut marks = self.marks.lock().unwrap();
        let known = marks.iter().position(|mark| mark == id);
        known.unwrap_or_else(|| {
            marks.push(id.to_owned());
            marks.len() - 1
        })
    }
}

impl<S: RegionLock + StateStore> Side<S> {
    /// Takes a step; the answer as text.
    pub(crate) async fn take(&self, step: &Step) -> String {
        let (store, now) = (&self.store, step.at);
        match &step.ask {
            Ask::Acquire(region, owner, lease) => {
                told(store.acquire(region, owner, now, *lease).await)
            }
            Ask::Release(lease) => told(store.release(lease).await),
            Ask::Outbid(lease, in_force) => told(store.advance_past_fence(lease, *in_force).await),
            Ask::Mark(region, by) => told(store.set_wake_mark(region, by, now).await),
            Ask::Clear(region, number) => {
                let id = self.marks.lock().unwrap()[*number].clone();
                let mark = shared::lock::WakeMark {
                    id,
                    by: String::new(),
                };
                told(store.clear_wake_mark(region, &mark).await)
            }
            Ask::IsWanted(region) => told(store.has_wake_mark(region).await),
            Ask::IsSeen(id) => told(store.is_seen(id).await),
            Ask::RecordSeen(id) => told(store.record_seen(id, now).await),
            Ask::Memory(region) => {
                let memory = store.region_state(region, now).await;
                told(memory.map(|memory| self.remembered(memory)))
            }
            Ask::Open(lease, intent) => told(store.open_intent(lease, intent).await),
            Ask::Close(lease, closing) => told(store.close_intent(lease, closing).await),
            Ask::Decide(lease, decision) => told(store.record_decision(lease, decision).await),
        }
    }

    fn remembered(&self, mut memory: RegionState) -> RegionState {
        if let Some(mark) = &mut memory.wake_mark {
            mark.id = format!("number {}", self.number(&mark.id));
        }
        memory
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "callers hand over what they were answered"
)]
fn told<T: Debug>(answer: Result<T, LockError>) -> String {
    format!("{answer:?}")
}

/// Everything that a store keeps, but the ids of marks; by region, and then by what tells the
/// items of a kind apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    locks: BTreeMap<String, Held>,
    wanted_by: BTreeMap<String, String>,
    open: BTreeMap<(String, LaunchId), Intent>,
    refusals: BTreeMap<(String, String), CapacityRefusal>,
    /// How each ended.
    closed: BTreeMap<(String, String), String>,
    decisions: BTreeMap<(String, i64), String>,
    seen: BTreeSet<String>,
}

impl Kept {
    pub(crate) fn by_fake(fake: &FakeStore) -> Self {
        let Items { regions, seen, .. } = &*fake.items();
        let mut kept = Self {
            seen: seen.clone(),
            ..Self::default()
        };
        for (region, items) in regions {
            let region = region.to_string();
            let of = |key: String| (region.clone(), key);
            let locks = items.lock.iter().map(|held| (region.clone(), held.clone()));
            kept.locks.extend(locks);
            let marks = items.wake_mark.iter();
            kept.wanted_by
                .extend(marks.map(|mark| (region.clone(), mark.by.clone())));
            for (id, intent) in &items.open {
                kept.open
                    .insert((region.clone(), id.clone()), intent.clone());
            }
            for (key, refusal) in &items.refusals {
                kept.refusals.insert(of(key.clone()), refusal.clone());
            }
            for closing in &items.closed {
                let key = of(closing.launch_id.to_string());
                kept.closed.insert(key, closing.outcome.clone());
            }
            for (version, decision) in &items.decisions {
                let key = (region.clone(), *version);
                kept.decisions.insert(key, decision.to_bounded_json());
            }
        }
        kept
    }

    pub(crate) async fn by_dynamodb(table: &Table) -> Self {
        let mut kept = Self::default();
        for item in table.items().await {
            kept.add(&item);
        }
        kept
    }

    fn add(&mut self, item: &Item) {
        let text = |name: &str| item[name].as_s().unwrap().clone();
        let number = |name: &str| item[name].as_n().unwrap().parse::<i64>().unwrap();
        let (pk, sk) = (text("pk"), text("sk"));
        let (kind, region) = pk.split_once('#').unwrap();
        let region = region.to_owned();
        let (part, rest) = sk.split_once('#').unwrap_or((&sk, ""));
        match (kind, part) {
            ("SEEN", "SEEN") => {
                self.seen.insert(region);
            }
            ("REGION", "LOCK") => {
                let held = Held {
                    owner: text("owner").into(),
                    version: number("version"),
                    expires_at: number("expires_at"),
                    since: number("since"),
                };
                self.locks.insert(region, held);
            }
            ("REGION", "WAKE") => {
                self.wanted_by.insert(region, text("by"));
            }
            ("REGION", "INTENT") => {
                let intent = serde_json::from_str(&text("body")).unwrap();
                self.open.insert((region, rest.into()), intent);
            }
            ("REGION", "REFUSAL") => {
                let refusal = serde_json::from_str(&text("body")).unwrap();
                self.refusals.insert((region, rest.to_owned()), refusal);
            }
            ("CLOSED", "INTENT") => {
                self.closed
                    .insert((region, rest.to_owned()), text("outcome"));
            }
            ("DECISIONS", version) => {
                let version = version.parse().unwrap();
                self.decisions.insert((region, version), text("body"));
            }
            // Of decisions, and compared where they are read: see `history`.
            ("POINTS", _) => {}
            other => panic!("no item of the service's is {other:?}"),
        }
    }
}
