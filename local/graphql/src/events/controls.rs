//! What the control endpoint and the delivery share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use crate::events::faults::{Action, Faults};

#[derive(Debug)]
pub(crate) struct Controls {
    faults: Mutex<Faults>,
    paused: watch::Sender<bool>,
    /// Rings when there may be something to do that Postgres does not tell.
    changed: Notify,
    workers: Arc<Semaphore>,
    worker_count: usize,
    /// Duplicates that are not sent yet.
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

    /// The faults that are left.
    pub(crate) fn faults(&self) -> Faults {
        self.with_faults(|faults| faults.clone())
    }

    /// # Errors
    /// When `faults` are out of bounds; then the ones before stay.
    pub(crate) fn set_faults(&self, faults: Faults) -> Result<()> {
        faults.check()?;
        self.with_faults(|current| *current = faults);
        Ok(())
    }

    pub(crate) fn strike(&self, trigger: &str) -> Option<Action> {
        self.with_faults(|faults| faults.strike(trigger))
    }

    fn with_faults<T>(&self, with: impl FnOnce(&mut Faults) -> T) -> T {
        with(&mut self.faults.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// While paused, nothing is sent; what is being sent goes on to its end.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.send_replace(paused);
        self.ring();
    }

    pub(crate) fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    pub(crate) fn ring(&self) {
        self.changed.notify_one();
    }

    pub(crate) async fn rung(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn worker_count(&self) -> usize {
        self.worker_count
    }

    /// How many requests are under way.
    pub(crate) fn sending(&self) -> usize {
        self.worker_count - self.workers.available_permits()
    }

    /// Waits for a worker that may send.
    ///
    /// # Errors
    /// Never: the workers are not closed while anybody has the controls.
    pub(crate) async fn worker(&self) -> Result<OwnedSemaphorePermit> {
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
