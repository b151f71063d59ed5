//! The events that EC2 sends to `EventBridge`, and the state of their deliveries.
//!
//! This module only records events and schedules their deliveries. The `delivery` module makes
//! them, which needs the network.

mod envelope;

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use serde_json::Value;

pub use envelope::Event;

use crate::clock::UnixMillis;
use crate::faults::EventEffects;
use crate::world::{Change, World};

/// How many events are kept.
const MAX_RECORDS: usize = 20_000;

/// An event in the ledger.
#[derive(Clone, Debug, Serialize)]
pub struct EventRecord {
    /// Starts at 1 and has no gaps.
    pub seq: u64,
    pub at_ms: UnixMillis,
    pub event: Event,
    /// The names of the faults that applied.
    pub faults: Vec<&'static str>,
    /// Empty if the event was dropped or if there is no receiver; several if it was duplicated.
    pub deliveries: Vec<Delivery>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Delivery {
    /// When the first attempt is due. If the event waits for others, this is the latest time.
    pub due_ms: UnixMillis,
    pub outcome: Outcome,
    pub attempts: u32,
    /// The time of the last attempt.
    pub at_ms: Option<UnixMillis>,
    /// The receiver's response to the last attempt, or the error.
    pub answer: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// There was no attempt yet, or there will be another one.
    Waiting,
    Delivered,
    /// The receiver has no rule for such an event.
    Unwanted,
    /// All attempts failed.
    Failed,
}

/// Identifies one delivery of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryId {
    seq: u64,
    delivery: usize,
}

/// An event that is due for delivery.
#[derive(Clone, Debug)]
pub struct PendingEvent {
    pub id: DeliveryId,
    pub event: Event,
}

/// When a batch is due, and a number that makes the key unique.
type BatchKey = (UnixMillis, u64);

#[derive(Debug, Default)]
pub struct Events {
    has_receiver: bool,
    records: VecDeque<EventRecord>,
    last_seq: u64,
    /// Future deliveries. Those of one batch are made one after another.
    queue: BTreeMap<BatchKey, Vec<DeliveryId>>,
    batches: u64,
    /// The batch that collects events in order to deliver them in reverse.
    reordering: Option<ReorderedBatch>,
}

#[derive(Clone, Copy, Debug)]
struct ReorderedBatch {
    key: BatchKey,
    /// How many more events it collects.
    missing: usize,
}

impl Events {
    /// Schedules deliveries for all later events. Without a receiver, events are only recorded.
    pub fn enable_delivery(&mut self) {
        self.has_receiver = true;
    }

    /// The events that are kept, the oldest first.
    pub fn records(&self) -> impl Iterator<Item = &EventRecord> {
        self.records.iter()
    }

    /// How many events are no longer kept.
    pub fn dropped(&self) -> u64 {
        self.last_seq - self.records.len() as u64
    }

    /// Records the event of a change and schedules its delivery, unless EC2 has no such event.
    pub(crate) fn publish(&mut self, change: &Change, world: &mut World, now: UnixMillis) {
        let Some(event) = Event::of(change, world) else {
            return;
        };
        let effects = world.faults.apply_to_event(
            &change.region,
            &change.instance_id,
            event.detail_type,
            event.detail.state,
        );
        self.last_seq += 1;
        self.records.push_back(EventRecord {
            seq: self.last_seq,
            at_ms: change.at,
            event,
            faults: effects.applied.clone(),
            deliveries: Vec::new(),
        });
        if self.has_receiver && !effects.is_dropped {
            self.schedule(&effects, now);
        }
        if self.records.len() > MAX_RECORDS {
            self.records.pop_front();
        }
    }

    /// Schedules the deliveries of the newest event.
    fn schedule(&mut self, effects: &EventEffects, now: UnixMillis) {
        let seq = self.last_seq;
        let ids: Vec<_> = (0..=effects.duplicates as usize)
            .map(|delivery| DeliveryId { seq, delivery })
            .collect();
        let due_ms = match effects.reorder {
            Some((count, within)) => self.add_reordered(&ids, count, now.after(within), now),
            None => {
                let due = now.after(effects.delay);
                for id in &ids {
                    let key = self.new_batch(due);
                    self.queue.insert(key, vec![*id]);
                }
                due
            }
        };
        if let Some(record) = self.records.back_mut() {
            let delivery = Delivery {
                due_ms,
                outcome: Outcome::Waiting,
                attempts: 0,
                at_ms: None,
                answer: None,
            };
            record.deliveries = vec![delivery; ids.len()];
        }
    }

    /// Adds an event in front of those in the reordered batch. Returns when the batch is due.
    fn add_reordered(
        &mut self,
        ids: &[DeliveryId],
        count: usize,
        until: UnixMillis,
        now: UnixMillis,
    ) -> UnixMillis {
        let ReorderedBatch { key, missing } =
            self.reordering.take().unwrap_or_else(|| ReorderedBatch {
                key: self.new_batch(until),
                missing: count,
            });
        let mut batch = ids.to_vec();
        batch.extend(self.queue.remove(&key).unwrap_or_default());
        let missing = missing.saturating_sub(1);
        let key = if missing == 0 { (now, key.1) } else { key };
        self.queue.insert(key, batch);
        self.reordering = (missing > 0).then_some(ReorderedBatch { key, missing });
        key.0
    }

    fn new_batch(&mut self, due: UnixMillis) -> BatchKey {
        self.batches += 1;
        (due, self.batches)
    }

    /// When the next delivery is due.
    pub fn next_due(&self) -> Option<UnixMillis> {
        self.queue.keys().next().map(|(due, _)| *due)
    }

    /// Removes the batches that are due from the queue and returns them. The events of one batch
    /// must be delivered one after another.
    pub fn take_due(&mut self, now: UnixMillis) -> Vec<Vec<PendingEvent>> {
        let mut batches = Vec::new();
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= now
        {
            let (key, ids) = entry.remove_entry();
            if self.reordering.is_some_and(|batch| batch.key == key) {
                self.reordering = None;
            }
            let events = ids.into_iter().filter_map(|id| {
                let event = self.record_mut(id.seq)?.event.clone();
                Some(PendingEvent { id, event })
            });
            batches.push(events.collect());
        }
        batches
    }

    /// Records one delivery attempt and its outcome.
    pub fn record_attempt(
        &mut self,
        id: DeliveryId,
        outcome: Outcome,
        answer: Value,
        now: UnixMillis,
    ) {
        let record = self.record_mut(id.seq);
        if let Some(delivery) = record.and_then(|it| it.deliveries.get_mut(id.delivery)) {
            delivery.outcome = outcome;
            delivery.attempts += 1;
            delivery.at_ms = Some(now);
            delivery.answer = Some(answer);
        }
    }

    fn record_mut(&mut self, seq: u64) -> Option<&mut EventRecord> {
        let first = self.records.front()?.seq;
        let index = usize::try_from(seq.checked_sub(first)?).ok()?;
        self.records.get_mut(index)
    }
}

#[cfg(test)]
mod tests;
