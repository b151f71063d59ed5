//! The one path of an event: its regions are marked, its id is recorded as seen, and a pass runs
//! for each region.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use futures::future::join_all;
use tracing::info;

use super::reconciler::{PassRequest, Reconciler};
use crate::ids::RegionName;
use crate::lock::LockError;
use crate::report::PassReport;
use crate::trigger::Trigger;

/// What became of an event.
#[derive(Debug)]
pub enum EventOutcome {
    /// The same id came before: that delivery runs the passes, or has run them.
    AlreadyHandled,
    Handled(Vec<PassReport>),
}

impl Reconciler {
    /// Marks the event's regions and runs a pass for each of them.
    ///
    /// # Errors
    /// When it is not certain that the marks are durable: the event has to be sent again. Once
    /// they are, the event is not needed again, whatever becomes of the passes.
    pub async fn handle_event(
        &self,
        id: &str,
        regions: &[RegionName],
        trigger: Trigger,
    ) -> Result<EventOutcome, LockError> {
        if self.lock.is_seen(id).await? {
            info!(trigger = trigger.name(), "event already handled");
            return Ok(EventOutcome::AlreadyHandled);
        }
        self.mark_regions(regions, id).await?;
        self.lock.record_seen(id, self.clock.now()).await?;
        info!(
            trigger = trigger.name(),
            ?regions,
            "regions marked for a pass"
        );
        let request = PassRequest {
            trigger,
            id: id.to_owned(),
            began: self.clock.now(),
            approve_mass_removal: false,
        };
        Ok(EventOutcome::Handled(self.run_all(regions, &request).await))
    }

    /// Sets the wake marks of regions, so that whoever holds a region's lock runs another round.
    /// `id` says in the log on whose behalf.
    ///
    /// # Errors
    /// When it is not certain that a mark is set.
    pub async fn mark_regions(&self, regions: &[RegionName], id: &str) -> Result<(), LockError> {
        let now = self.clock.now();
        for region in regions {
            self.lock.set_wake_mark(region, id, now).await?;
        }
        Ok(())
    }

    /// A pass for each region, all at once. A region that panics fails alone.
    pub async fn run_all(&self, regions: &[RegionName], request: &PassRequest) -> Vec<PassReport> {
        let passes = regions
            .iter()
            .map(|region| guard(region, self.run(region, request)));
        join_all(passes).await
    }
}

/// Turns a panic into a failed report, so that it does not end the passes of other regions.
pub async fn guard(region: &RegionName, pass: impl Future<Output = PassReport>) -> PassReport {
    let fault = "a fault of the service itself: the log has the panic";
    AssertUnwindSafe(pass)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| PassReport::failed(region, fault))
}
