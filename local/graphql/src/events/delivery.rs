//! The loop that delivers events to their webhooks.
//!
//! It polls, as Hasura does: an event waits for the next poll, and after a poll that found events
//! the next follows at once. What it fetches it locks in the database until the outcome is recorded.
//! If the process is killed, the next one sends these events again once the locks are old.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::{Connection, PgConnection};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::events::controls::Controls;
use crate::events::faults::{Action, ms};
use crate::events::log::{Event, EventLog, Outcome, RequestResult};
use crate::events::triggers::Triggers;
use crate::events::webhook::{Attempt, Webhook};

/// Maximum number of duplicates that wait to be sent. While it is reached, no new event
/// is started.
const MAX_COPIES: usize = 1_000;

/// Old rows are deleted each time this number of events was started.
const PRUNE_EVERY: usize = 1_000;

/// Sends one event and records its outcome. Shared by all tasks and the control endpoint.
#[derive(Debug)]
pub(crate) struct EventSender {
    pub(crate) log: EventLog,
    pub(crate) webhook: Webhook,
    pub(crate) triggers: Triggers,
    pub(crate) controls: Arc<Controls>,
    pub(crate) timing: Timing,
    /// Ids of the events that this process has locked.
    pub(crate) locked: Mutex<BTreeSet<String>>,
}

/// When events are fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// The pause after a poll that found nothing: `HASURA_GRAPHQL_EVENTS_FETCH_INTERVAL`.
    pub(crate) fetch_interval: Duration,
    /// The age from which a lock counts no more. Hasura's is half an hour.
    pub(crate) lock: Duration,
}

/// The state of the loop. It lasts as long as one connection to Postgres.
#[derive(Debug)]
pub(crate) struct DeliveryLoop {
    sender: Arc<EventSender>,
    trigger_names: Vec<String>,
    tasks: JoinSet<Result<Finished>>,
    /// The number of events that belong to a task or to the reorder group.
    in_progress: usize,
    next_poll: Instant,
    reorder_group: Option<ReorderGroup>,
    copies: usize,
    started_since_prune: usize,
}

/// What a task has finished.
#[derive(Debug)]
enum Finished {
    /// That many events.
    Events(usize),
    /// One duplicate.
    Copy,
}

/// Events that are held back, to be sent in reverse order.
#[derive(Debug)]
struct ReorderGroup {
    events: Vec<Event>,
    window: usize,
    release_at: Instant,
}

impl DeliveryLoop {
    pub(crate) fn new(sender: Arc<EventSender>) -> Self {
        let trigger_names = sender.triggers.keys().cloned().collect();
        sender.controls.set_copies(0);
        Self {
            sender,
            trigger_names,
            tasks: JoinSet::new(),
            in_progress: 0,
            next_poll: Instant::now(),
            reorder_group: None,
            copies: 0,
            started_since_prune: 0,
        }
    }

    /// Delivers events until it is `stopped`, which ends no fetch, or a database operation fails.
    ///
    /// # Errors
    ///
    /// Names the operation that failed. Requests in progress are aborted. Their events stay locked,
    /// as Hasura's do.
    pub(crate) async fn run(
        &mut self,
        holder: &mut PgConnection,
        stopped: &mut watch::Receiver<bool>,
    ) -> Result<()> {
        self.sender.log.prune().await?;
        while !*stopped.borrow() {
            if self.next_poll <= Instant::now() && self.free_workers() > 0 {
                holder
                    .ping()
                    .await
                    .context("the connection that holds the advisory lock was lost")?;
                while !*stopped.borrow() && self.start_due().await? {}
                // With a backlog, the next poll is as soon as a worker is free.
                let pause = match self.free_workers() {
                    0 => Duration::ZERO,
                    _ => self.sender.timing.fetch_interval,
                };
                self.next_poll = Instant::now() + pause;
            }
            self.release_reorder_group();
            let wake_at = self.wake_at();
            tokio::select! {
                Some(finished) = self.tasks.join_next() => self.finish(finished??),
                () = self.sender.controls.changed() => self.next_poll = Instant::now(),
                () = sleep_until(wake_at) => {}
                _ = stopped.changed() => {}
            }
        }
        Ok(())
    }

    /// How many more events can be started.
    fn free_workers(&self) -> usize {
        let controls = &self.sender.controls;
        if controls.is_paused() || self.copies >= MAX_COPIES {
            return 0;
        }
        let held_back = self
            .reorder_group
            .as_ref()
            .map_or(0, |group| group.events.len());
        (controls.worker_count() + held_back).saturating_sub(self.in_progress)
    }

    /// Starts events that are due. Returns whether there were any.
    async fn start_due(&mut self) -> Result<bool> {
        let limit = self.free_workers();
        if limit == 0 {
            return Ok(false);
        }
        let log = self.sender.log.clone();
        let lock = self.sender.timing.lock;
        let events = log.fetch(&self.trigger_names, lock, limit).await?;
        self.sender
            .locked()
            .extend(events.iter().map(|it| it.id.clone()));
        self.started_since_prune += events.len();
        if self.started_since_prune >= PRUNE_EVERY {
            self.started_since_prune = 0;
            log.prune().await?;
        }
        let any = !events.is_empty();
        for event in events {
            self.start(event).await?;
        }
        Ok(any)
    }

    /// Delivers an event, or applies a fault to it.
    async fn start(&mut self, event: Event) -> Result<()> {
        let is_first_attempt = event.tries == 0 && !event.disturbed;
        let action =
            is_first_attempt.then(|| self.sender.controls.choose_fault_action(&event.trigger));
        let log = &self.sender.log;
        let not_sent = RequestResult::default();
        match action.flatten() {
            None => self.spawn_delivery(vec![event]),
            Some(Action::Drop) => {
                log.record(&event, Outcome::Dropped, &not_sent).await?;
                self.sender.locked().remove(&event.id);
            }
            Some(Action::Delay { ms: delay }) => {
                let outcome = Outcome::Delayed(ms(delay));
                log.record(&event, outcome, &not_sent).await?;
                self.sender.locked().remove(&event.id);
            }
            Some(Action::Duplicate { copies, after_ms }) => {
                for copy in 1..=copies {
                    self.spawn_copy(event.clone(), copy, ms(after_ms));
                }
                self.spawn_delivery(vec![event]);
            }
            Some(Action::Reorder { window, within_ms }) => {
                self.in_progress += 1;
                let group = self.reorder_group.get_or_insert_with(|| ReorderGroup {
                    events: Vec::new(),
                    window,
                    release_at: Instant::now() + ms(within_ms),
                });
                group.events.push(event);
                self.release_reorder_group();
            }
        }
        Ok(())
    }

    /// Sends the held-back events, last first, if the group is complete or its time is over.
    fn release_reorder_group(&mut self) {
        let released = self.reorder_group.take_if(|group| {
            group.events.len() >= group.window || group.release_at <= Instant::now()
        });
        if let Some(mut group) = released {
            group.events.reverse();
            self.in_progress -= group.events.len();
            self.spawn_delivery(group.events);
        }
    }

    /// Spawns a task that sends the events one after the other.
    fn spawn_delivery(&mut self, events: Vec<Event>) {
        self.in_progress += events.len();
        let sender = Arc::clone(&self.sender);
        self.tasks.spawn(async move {
            for event in &events {
                sender.deliver(event).await?;
                sender.locked().remove(&event.id);
            }
            Ok(Finished::Events(events.len()))
        });
    }

    fn spawn_copy(&mut self, event: Event, copy: u32, after: Duration) {
        self.set_copies(self.copies + 1);
        let sender = Arc::clone(&self.sender);
        self.tasks.spawn(async move {
            tokio::time::sleep(after).await;
            sender.deliver_copy(&event, copy).await?;
            Ok(Finished::Copy)
        });
    }

    fn finish(&mut self, finished: Finished) {
        match finished {
            Finished::Events(count) => self.in_progress -= count,
            Finished::Copy => self.set_copies(self.copies - 1),
        }
    }

    fn set_copies(&mut self, copies: usize) {
        self.copies = copies;
        self.sender.controls.set_copies(copies);
    }

    /// When something is to be done that no finished task and no control brings.
    fn wake_at(&self) -> Option<Instant> {
        let release_at = self.reorder_group.as_ref().map(|group| group.release_at);
        let next_poll = (self.free_workers() > 0).then_some(self.next_poll);
        release_at.into_iter().chain(next_poll).min()
    }
}

impl EventSender {
    pub(crate) fn locked(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unlocks what this process has locked, as an engine does that is stopped and not killed.
    /// (Hasura first waits up to a minute for the requests in progress.)
    pub(crate) async fn unlock(&self) -> Result<()> {
        let ids: Vec<_> = std::mem::take(&mut *self.locked()).into_iter().collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.log.unlock(&ids).await
    }

    async fn deliver(&self, event: &Event) -> Result<()> {
        let (attempt, outcome) = self.attempt(event).await?;
        self.log.record(event, outcome, &attempt.result).await
    }

    async fn deliver_copy(&self, event: &Event, copy: u32) -> Result<()> {
        let (attempt, outcome) = self.attempt(event).await?;
        self.log
            .record_copy(event, copy, outcome, &attempt.result)
            .await
    }

    async fn attempt(&self, event: &Event) -> Result<(Attempt, Outcome)> {
        let trigger = self.triggers.get(&event.trigger).with_context(|| {
            format!(
                "event {}: the metadata has no event trigger `{}`",
                event.id, event.trigger
            )
        })?;
        let worker = self.controls.acquire_worker().await?;
        let attempt = self.webhook.send(trigger, event).await;
        drop(worker);
        let outcome = attempt.outcome(trigger.retries, event.tries);
        Ok((attempt, outcome))
    }
}

/// Waits until the time, or forever if there is none.
async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
