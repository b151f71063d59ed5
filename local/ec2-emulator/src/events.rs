//! The events that EC2 gives to EventBridge, and what became of each.
//!
//! Pure: events are written down here with the times of their deliveries, and [`delivery`] carries
//! them out.

pub mod delivery;
mod envelope;

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use serde_json::Value;

pub use envelope::Event;

use crate::clock::UnixMillis;
use crate::faults::EventFate;
use crate::world::{Change, World};

/// How many events are kept.
const RECORDS: usize = 20_000;

/// An event in the ledger.
#[derive(Clone, Debug, Serialize)]
pub struct EventRecord {
    /// From 1, without a gap.
    pub seq: u64,
    pub at_ms: UnixMillis,
    pub event: Event,
    /// The faults that struck it.
    pub faults: Vec<&'static str>,
    /// None when it was dropped, or nobody listens; several when it was duplicated.
    pub deliveries: Vec<Delivery>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Delivery {
    /// When it is to be delivered, at the latest while it waits for others.
    pub due_ms: UnixMillis,
    pub outcome: Outcome,
    pub attempts: u32,
    /// Of the last attempt.
    pub at_ms: Option<UnixMillis>,
    /// What the receiver said, or the error.
    pub answer: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was not tried yet, or will be tried again.
    Waiting,
    Delivered,
    /// Nobody wants events like this one.
    Unwanted,
    /// It was tried often enough.
    Failed,
}

/// One delivery of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    seq: u64,
    delivery: usize,
}

/// An event on its way.
#[derive(Clone, Debug)]
pub struct Parcel {
    pub ticket: Ticket,
    pub event: Event,
}

/// When a batch is due, and a number that tells it from others.
type BatchKey = (UnixMillis, u64);

#[derive(Debug, Default)]
pub struct Events {
    is_listened_to: bool,
    records: VecDeque<EventRecord>,
    last_seq: u64,
    /// Deliveries to come. Those of one batch are made one after another.
    outbox: BTreeMap<BatchKey, Vec<Ticket>>,
    batches: u64,
    /// The batch that waits for more events, to be delivered in the reverse order.
    gathering: Option<Gathering>,
}

#[derive(Clone, Copy, Debug)]
struct Gathering {
    key: BatchKey,
    /// How many events it still waits for.
    room: usize,
}

impl Events {
    /// From now on there is somebody to deliver events to.
    pub fn listen(&mut self) {
        self.is_listened_to = true;
    }

    /// The oldest first.
    pub fn records(&self) -> impl Iterator<Item = &EventRecord> {
        self.records.iter()
    }

    /// How many are no longer kept.
    pub fn dropped(&self) -> u64 {
        self.last_seq - self.records.len() as u64
    }

    /// Writes down the event of a change, if there is one, and when to deliver it.
    pub(crate) fn publish(&mut self, change: &Change, world: &mut World, now: UnixMillis) {
        let Some(event) = Event::of(change, world) else {
            return;
        };
        let fate = world.faults.strike_event(
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
            faults: fate.struck.clone(),
            deliveries: Vec::new(),
        });
        if self.is_listened_to && !fate.is_dropped {
            self.post(&fate, now);
        }
        if self.records.len() > RECORDS {
            self.records.pop_front();
        }
    }

    /// Plans the deliveries of the newest event.
    fn post(&mut self, fate: &EventFate, now: UnixMillis) {
        let seq = self.last_seq;
        let tickets: Vec<_> = (0..=fate.duplicates as usize)
            .map(|delivery| Ticket { seq, delivery })
            .collect();
        let due_ms = match fate.reorder {
            Some((count, within)) => self.gather(&tickets, count, now.after(within), now),
            None => {
                let due = now.after(fate.delay);
                for ticket in &tickets {
                    let key = self.new_batch(due);
                    self.outbox.insert(key, vec![*ticket]);
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
            record.deliveries = vec![delivery; tickets.len()];
        }
    }

    /// Puts an event in front of those that wait already, and answers until when it does.
    fn gather(
        &mut self,
        tickets: &[Ticket],
        count: usize,
        until: UnixMillis,
        now: UnixMillis,
    ) -> UnixMillis {
        let Gathering { key, room } = self.gathering.take().unwrap_or_else(|| Gathering {
            key: self.new_batch(until),
            room: count,
        });
        let mut batch = tickets.to_vec();
        batch.extend(self.outbox.remove(&key).unwrap_or_default());
        let room = room.saturating_sub(1);
        let key = if room == 0 { (now, key.1) } else { key };
        self.outbox.insert(key, batch);
        self.gathering = (room > 0).then_some(Gathering { key, room });
        key.0
    }

    fn new_batch(&mut self, due: UnixMillis) -> BatchKey {
        self.batches += 1;
        (due, self.batches)
    }

    /// When the next delivery is to be made.
    pub fn next_due(&self) -> Option<UnixMillis> {
        self.outbox.keys().next().map(|(due, _)| *due)
    }

    /// The batches whose time has come. Events of one batch go one after another.
    pub fn take_due(&mut self, now: UnixMillis) -> Vec<Vec<Parcel>> {
        let mut batches = Vec::new();
        while let Some(entry) = self.outbox.first_entry()
            && entry.key().0 <= now
        {
            let (key, tickets) = entry.remove_entry();
            if self.gathering.is_some_and(|gathering| gathering.key == key) {
                self.gathering = None;
            }
            let parcels = tickets.into_iter().filter_map(|ticket| {
                let event = self.record_mut(ticket.seq)?.event.clone();
                Some(Parcel { ticket, event })
            });
            batches.push(parcels.collect());
        }
        batches
    }

    /// Writes down how an attempt went.
    pub fn note(&mut self, ticket: Ticket, outcome: Outcome, answer: Value, now: UnixMillis) {
        let record = self.record_mut(ticket.seq);
        if let Some(delivery) = record.and_then(|it| it.deliveries.get_mut(ticket.delivery)) {
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
