//! The loop that brings events to their webhooks.
//!
//! One process delivers at a time, and which events it has in hand is known to it
//! alone: when it dies, the next one finds them pending and sends them again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sqlx::postgres::PgListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::events::controls::Controls;
use crate::events::faults::{Action, ms};
use crate::events::log::{Event, EventLog, Fate, Trip};
use crate::events::triggers::Triggers;
use crate::events::webhook::{Attempt, Webhook};

/// Duplicates that wait to be sent; while there are as many, no event is taken.
const MAX_COPIES: usize = 1_000;

/// How many events go by between two times that old ones are forgotten.
const PRUNE_EVERY: usize = 1_000;

/// What every request needs.
#[derive(Debug)]
pub(crate) struct Courier {
    pub(crate) log: EventLog,
    pub(crate) webhook: Webhook,
    pub(crate) triggers: Triggers,
    pub(crate) controls: Arc<Controls>,
}

/// What one connection to Postgres sees delivered.
#[derive(Debug)]
pub(crate) struct Delivery {
    courier: Arc<Courier>,
    names: Vec<String>,
    tasks: JoinSet<Result<Done>>,
    /// The ids of the events that are with a task, or in the group.
    in_hand: BTreeSet<String>,
    group: Option<Group>,
    copies: usize,
    since_prune: usize,
}

#[derive(Debug)]
enum Done {
    Events(Vec<String>),
    Copy,
}

/// Events that are kept until they can be sent in another order.
#[derive(Debug)]
struct Group {
    events: Vec<Event>,
    window: usize,
    until: Instant,
}

impl Delivery {
    pub(crate) fn new(courier: Arc<Courier>) -> Self {
        let names = courier.triggers.keys().cloned().collect();
        courier.controls.set_copies(0);
        Self {
            courier,
            names,
            tasks: JoinSet::new(),
            in_hand: BTreeSet::new(),
            group: None,
            copies: 0,
            since_prune: 0,
        }
    }

    /// Delivers until something is wrong with Postgres.
    ///
    /// # Errors
    ///
    /// Says what was wrong. Requests under way are given up, to be repeated.
    pub(crate) async fn run(&mut self, listener: &mut PgListener) -> Result<()> {
        self.courier.log.prune().await?;
        loop {
            while self.take_due().await? {}
            self.release_group();
            let next = self.next_look().await?;
            tokio::select! {
                heard = listener.try_recv() => {
                    let heard = heard.context("hear of new events")?;
                    ensure!(heard.is_some(), "the connection that hears of new events is lost");
                    // One look finds all that was told of.
                    while listener.next_buffered().is_some() {}
                }
                Some(done) = self.tasks.join_next() => self.done(done??),
                () = self.courier.controls.rung() => {}
                () = until(next) => {}
            }
        }
    }

    /// How many more events can be taken.
    fn room(&self) -> usize {
        let controls = &self.courier.controls;
        if controls.is_paused() || self.copies >= MAX_COPIES {
            return 0;
        }
        let kept = self.group.as_ref().map_or(0, |group| group.events.len());
        (controls.worker_count() + kept).saturating_sub(self.in_hand.len())
    }

    fn in_hand(&self) -> Vec<String> {
        self.in_hand.iter().cloned().collect()
    }

    /// Takes what is due into hand, and says whether there was anything.
    async fn take_due(&mut self) -> Result<bool> {
        let room = self.room();
        if room == 0 {
            return Ok(false);
        }
        let log = self.courier.log.clone();
        let events = log.due(&self.names, &self.in_hand(), room).await?;
        self.since_prune += events.len();
        if self.since_prune >= PRUNE_EVERY {
            self.since_prune = 0;
            log.prune().await?;
        }
        let any = !events.is_empty();
        for event in events {
            self.take(event).await?;
        }
        Ok(any)
    }

    async fn take(&mut self, event: Event) -> Result<()> {
        let untouched = event.tries == 0 && !event.disturbed;
        let action = untouched.then(|| self.courier.controls.strike(&event.trigger));
        let log = &self.courier.log;
        match action.flatten() {
            None => self.deliver(vec![event]),
            Some(Action::Drop) => log.record(&event, Fate::Dropped, &Trip::default()).await?,
            Some(Action::Delay { ms: time }) => {
                let fate = Fate::Delayed(ms(time));
                log.record(&event, fate, &Trip::default()).await?;
            }
            Some(Action::Duplicate { copies, after_ms }) => {
                for copy in 1..=copies {
                    self.duplicate(event.clone(), copy, ms(after_ms));
                }
                self.deliver(vec![event]);
            }
            Some(Action::Reorder { window, within_ms }) => {
                self.in_hand.insert(event.id.clone());
                let group = self.group.get_or_insert_with(|| Group {
                    events: Vec::new(),
                    window,
                    until: Instant::now() + ms(within_ms),
                });
                group.events.push(event);
                self.release_group();
            }
        }
        Ok(())
    }

    /// Sends what was kept, last first, once it is complete or has waited for long enough.
    fn release_group(&mut self) {
        let complete = self
            .group
            .take_if(|group| group.events.len() >= group.window || group.until <= Instant::now());
        if let Some(mut group) = complete {
            group.events.reverse();
            self.deliver(group.events);
        }
    }

    /// Sends events one after the other.
    fn deliver(&mut self, events: Vec<Event>) {
        let ids: Vec<_> = events.iter().map(|event| event.id.clone()).collect();
        self.in_hand.extend(ids.iter().cloned());
        let courier = Arc::clone(&self.courier);
        self.tasks.spawn(async move {
            for event in &events {
                courier.deliver(event).await?;
            }
            Ok(Done::Events(ids))
        });
    }

    fn duplicate(&mut self, event: Event, copy: u32, after: Duration) {
        self.set_copies(self.copies + 1);
        let courier = Arc::clone(&self.courier);
        self.tasks.spawn(async move {
            tokio::time::sleep(after).await;
            courier.deliver_copy(&event, copy).await?;
            Ok(Done::Copy)
        });
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Events(ids) => ids.iter().for_each(|id| {
                self.in_hand.remove(id);
            }),
            Done::Copy => self.set_copies(self.copies - 1),
        }
    }

    fn set_copies(&mut self, copies: usize) {
        self.copies = copies;
        self.courier.controls.set_copies(copies);
    }

    /// When to look again, if nothing happens before.
    async fn next_look(&self) -> Result<Option<Instant>> {
        let released = self.group.as_ref().map(|group| group.until);
        // Without room, whatever makes some says so.
        if self.room() == 0 {
            return Ok(released);
        }
        let log = &self.courier.log;
        let due = log.next_due(&self.names, &self.in_hand()).await?;
        let due = due.map(|pause| Instant::now() + pause);
        Ok(released.into_iter().chain(due).min())
    }
}

impl Courier {
    async fn deliver(&self, event: &Event) -> Result<()> {
        let (attempt, fate) = self.attempt(event).await?;
        self.log.record(event, fate, &attempt.trip).await
    }

    async fn deliver_copy(&self, event: &Event, copy: u32) -> Result<()> {
        let (attempt, fate) = self.attempt(event).await?;
        self.log.record_copy(event, copy, fate, &attempt.trip).await
    }

    async fn attempt(&self, event: &Event) -> Result<(Attempt, Fate)> {
        let trigger = self
            .triggers
            .get(&event.trigger)
            .with_context(|| format!("there is no event trigger {}", event.trigger))?;
        let worker = self.controls.worker().await?;
        let attempt = self.webhook.send(trigger, event).await;
        drop(worker);
        let fate = attempt.fate(trigger.retries, event.tries);
        Ok((attempt, fate))
    }
}

/// For ever, if there is no such time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
