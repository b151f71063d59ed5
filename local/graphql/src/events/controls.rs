//! State that the control endpoint changes and the delivery loop obeys: faults, pause,
//! and the limit on concurrent requests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use crate::events::faults::{Action, Faults};

#[derive(Debug)]
pub(crate) struct Controls {
    faults: Mutex<Faults>,
    paused: watch::Sender<bool>,
    /// Wakes the delivery loop after changes that Postgres does not announce.
    changed: Notify,
    workers: Arc<Semaphore>,
    worker_count: usize,
    /// Number of duplicates that are not sent yet.
    copies: AtomicUsize,
}

impl Controls {
    pub(crate) fn new(worker_count: usize) -> Self {
        Self {
            faults: Mutex::default(),
            paused: watch::Sender::new(false),
            changed: Notify::new(),
            workers: Arc::new(Semaphore::new(worker_count)),
            worker_count,
            copies: AtomicUsize::new(0),
        }
    }

    /// The faults, with the number of events that each rule may still affect.
    pub(crate) fn faults(&self) -> Faults {
        self.with_faults(|faults| faults.clone())
    }

    /// Replaces all faults.
    ///
    /// # Errors
    ///
    /// When a number is out of range. The previous faults then stay in force.
    pub(crate) fn set_faults(&self, faults: Faults) -> Result<()> {
        faults.check()?;
        self.with_faults(|current| *current = faults);
        Ok(())
    }

    /// See [`Faults::choose_action`].
    pub(crate) fn choose_fault_action(&self, trigger: &str) -> Option<Action> {
        self.with_faults(|faults| faults.choose_action(trigger))
    }

    fn with_faults<T>(&self, with: impl FnOnce(&mut Faults) -> T) -> T {
        with(&mut self.faults.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// While paused, no request is started. Requests in progress are completed.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.send_replace(paused);
        self.notify_loop();
    }

    pub(crate) fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// Makes the delivery loop check for due events.
    pub(crate) fn notify_loop(&self) {
        self.changed.notify_one();
    }

    /// Waits for [`Self::notify_loop`].
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn worker_count(&self) -> usize {
        self.worker_count
    }

    /// The number of requests in progress.
    pub(crate) fn sending(&self) -> usize {
        self.worker_count - self.workers.available_permits()
    }

    /// Waits until a request may be sent. The request must hold the permit.
    ///
    /// # Errors
    ///
    /// Does not fail in practice: the semaphore and the channel are never closed.
    pub(crate) async fn acquire_worker(&self) -> Result<OwnedSemaphorePermit> {
        let mut paused = self.paused.subscribe();
        loop {
            paused.wait_for(|paused| !paused).await?;
            let worker = Arc::clone(&self.workers).acquire_owned().await?;
            if !self.is_paused() {
                return Ok(worker);
            }
        }
    }

    pub(crate) fn copies(&self) -> usize {
        self.copies.load(Ordering::Relaxed)
    }

    pub(crate) fn set_copies(&self, copies: usize) {
        self.copies.store(copies, Ordering::Relaxed);
    }
}
