//! The loop that delivers events to their webhooks.
//!
//! Only one process delivers at a time, and it keeps in memory which events are in
//! progress, instead of marking them in the database. If it dies, the next process
//! finds these events pending and sends them again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sqlx::postgres::PgListener;
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
}

/// The state of the loop. It lasts as long as one connection to Postgres.
#[derive(Debug)]
pub(crate) struct DeliveryLoop {
    sender: Arc<EventSender>,
    trigger_names: Vec<String>,
    tasks: JoinSet<Result<Finished>>,
    /// Ids of the events that belong to a task or to the reorder group.
    in_progress: BTreeSet<String>,
    reorder_group: Option<ReorderGroup>,
    copies: usize,
    started_since_prune: usize,
}

/// What a task has finished.
#[derive(Debug)]
enum Finished {
    /// The events with these ids.
    Events(Vec<String>),
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
            in_progress: BTreeSet::new(),
            reorder_group: None,
            copies: 0,
            started_since_prune: 0,
        }
    }

    /// Delivers events until a database operation fails.
    ///
    /// # Errors
    ///
    /// Names the operation that failed. Requests in progress are aborted. Their events
    /// are still pending and are sent again by the next loop.
    pub(crate) async fn run(&mut self, listener: &mut PgListener) -> Result<()> {
        self.sender.log.prune().await?;
        loop {
            while self.start_due().await? {}
            self.release_reorder_group();
            let next_check = self.next_check().await?;
            tokio::select! {
                received = listener.try_recv() => {
                    let received = received.context("receive announcements of new events")?;
                    ensure!(
                        received.is_some(),
                        "the connection that announces new events was lost"
                    );
                    // One check finds all announced events.
                    while listener.next_buffered().is_some() {}
                }
                Some(finished) = self.tasks.join_next() => self.finish(finished??),
                () = self.sender.controls.changed() => {}
                () = sleep_until(next_check) => {}
            }
        }
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
        (controls.worker_count() + held_back).saturating_sub(self.in_progress.len())
    }

    fn in_progress(&self) -> Vec<String> {
        self.in_progress.iter().cloned().collect()
    }

    /// Starts events that are due. Returns whether there were any.
    async fn start_due(&mut self) -> Result<bool> {
        let limit = self.free_workers();
        if limit == 0 {
            return Ok(false);
        }
        let log = self.sender.log.clone();
        let events = log
            .due(&self.trigger_names, &self.in_progress(), limit)
            .await?;
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
            Some(Action::Drop) => log.record(&event, Outcome::Dropped, &not_sent).await?,
            Some(Action::Delay { ms: delay }) => {
                let outcome = Outcome::Delayed(ms(delay));
                log.record(&event, outcome, &not_sent).await?;
            }
            Some(Action::Duplicate { copies, after_ms }) => {
                for copy in 1..=copies {
                    self.spawn_copy(event.clone(), copy, ms(after_ms));
                }
                self.spawn_delivery(vec![event]);
            }
            Some(Action::Reorder { window, within_ms }) => {
                self.in_progress.insert(event.id.clone());
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
            self.spawn_delivery(group.events);
        }
    }

    /// Spawns a task that sends the events one after the other.
    fn spawn_delivery(&mut self, events: Vec<Event>) {
        let ids: Vec<_> = events.iter().map(|event| event.id.clone()).collect();
        self.in_progress.extend(ids.iter().cloned());
        let sender = Arc::clone(&self.sender);
        self.tasks.spawn(async move {
            for event in &events {
                sender.deliver(event).await?;
            }
            Ok(Finished::Events(ids))
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
            Finished::Events(ids) => ids.iter().for_each(|id| {
                self.in_progress.remove(id);
            }),
            Finished::Copy => self.set_copies(self.copies - 1),
        }
    }

    fn set_copies(&mut self, copies: usize) {
        self.copies = copies;
        self.sender.controls.set_copies(copies);
    }

    /// When to check for due events again, unless something happens before.
    async fn next_check(&self) -> Result<Option<Instant>> {
        let release_at = self.reorder_group.as_ref().map(|group| group.release_at);
        // Without free workers, the loop is woken by a finished task or by the controls.
        if self.free_workers() == 0 {
            return Ok(release_at);
        }
        let log = &self.sender.log;
        let due_in = log
            .next_due(&self.trigger_names, &self.in_progress())
            .await?;
        let due_at = due_in.map(|delay| Instant::now() + delay);
        Ok(release_at.into_iter().chain(due_at).min())
    }
}

impl EventSender {
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
