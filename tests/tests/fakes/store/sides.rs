//! The two sides that must answer alike: the adapter on DynamoDB, and the fake.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Mutex;

use scaling_tests::table::{Item, Table};
use shared::ids::LaunchId;
use shared::lock::{LockError, RegionLock};
use shared::model::{Intent, LaunchTally, Refusal};
use shared::store::{RegionState, StateStore};
use testing::{FakeStore, Held, Items};

use super::steps::{Action, Step};

/// A store and the ids of the wake marks that it has returned.
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

    /// The number of marks that were returned.
    pub(crate) fn marks(&self) -> usize {
        self.marks.lock().unwrap().len()
    }

    /// The number of a mark: the position of its first return.
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
    /// Executes a step and returns the answer as text.
    pub(crate) async fn take(&self, step: &Step) -> String {
        let (store, now) = (&self.store, step.at);
        match &step.action {
            Action::Acquire(region, owner, lease) => {
                to_text(store.acquire(region, owner, now, *lease).await)
            }
            Action::Release(lease) => to_text(store.release(lease).await),
            Action::AdvancePastFence(lease, in_force) => {
                to_text(store.advance_past_fence(lease, *in_force).await)
            }
            Action::Mark(region, by) => to_text(store.set_wake_mark(region, by, now).await),
            Action::Clear(region, number) => {
                let id = self.marks.lock().unwrap()[*number].clone();
                let mark = shared::lock::WakeMark {
                    id,
                    by: String::new(),
                };
                to_text(store.clear_wake_mark(region, &mark).await)
            }
            Action::HasWakeMark(region) => to_text(store.has_wake_mark(region).await),
            Action::IsHeld(region) => to_text(store.is_held(region, now).await),
            Action::IsSeen(id) => to_text(store.is_seen(id).await),
            Action::RecordSeen(id) => to_text(store.record_seen(id, now).await),
            Action::ReadState(region) => {
                let state = store.region_state(region, now).await;
                to_text(state.map(|state| self.remembered(state)))
            }
            Action::Open(lease, intents, launches) => {
                to_text(store.open_intents(lease, intents, launches).await)
            }
            Action::Refuse(lease, refusals, forgotten) => {
                to_text(store.record_refusals(lease, refusals, forgotten).await)
            }
            Action::Close(lease, closures, launches) => {
                to_text(store.close_intents(lease, closures, launches).await)
            }
            Action::Decide(lease, decision) => {
                to_text(store.record_decision(lease, decision).await)
            }
        }
    }

    fn remembered(&self, mut state: RegionState) -> RegionState {
        if let Some(mark) = &mut state.wake_mark {
            mark.id = format!("number {}", self.number(&mark.id));
        }
        state
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "callers hand over what they were answered"
)]
fn to_text<T: Debug>(answer: Result<T, LockError>) -> String {
    format!("{answer:?}")
}

/// Everything that a store keeps except the ids of marks, by region and by the key of each kind of
/// item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    locks: BTreeMap<String, Held>,
    wanted_by: BTreeMap<String, String>,
    open: BTreeMap<(String, LaunchId), Intent>,
    refusals: BTreeMap<(String, String), Refusal>,
    launches: BTreeMap<String, LaunchTally>,
    /// The outcome of each closed intent.
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
            if items.launches != LaunchTally::default() {
                kept.launches.insert(region.clone(), items.launches.clone());
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
                    decided_at: number("decided_at"),
                };
                self.locks.insert(region, held);
            }
            ("REGION", "LAUNCHES") => {
                let launches = serde_json::from_str(&text("body")).unwrap();
                self.launches.insert(region, launches);
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
            // Decisions are compared where they are read: see `history`.
            ("POINTS", _) => {}
            other => panic!("no item of the service's is {other:?}"),
        }
    }
}
