//! The one path of an event: its regions are marked, its id is recorded as seen, and a pass runs
//! for each region.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use futures::future::{join, join_all};
use tracing::info;

use super::reconciler::{PassRequest, Reconciler};
use crate::ids::RegionName;
use crate::lock::LockError;
use crate::metrics::{Batch, EVENTS_REPEATED, EVENTS_SEEN, Metric, REGION};
use crate::report::{PassOutcome, PassReport};
use crate::trigger::Trigger;

/// The outcome of an event.
#[derive(Debug)]
pub enum EventOutcome {
    /// The same id came before. That delivery runs the passes, or has run them.
    AlreadyHandled,
    Handled(Vec<PassReport>),
}

impl Reconciler {
    /// Marks the event's regions and runs a pass for each of them.
    ///
    /// # Errors
    /// When the marks may not be durable: the event has to be sent again. Once they are durable,
    /// the event is not needed any more, even if its passes fail.
    pub async fn handle_event(
        &self,
        id: &str,
        regions: &[RegionName],
        trigger: Trigger,
    ) -> Result<EventOutcome, LockError> {
        if self.lock.is_seen(id).await? {
            info!(trigger = trigger.name(), "event already handled");
            self.count_event(regions, EVENTS_REPEATED);
            return Ok(EventOutcome::AlreadyHandled);
        }
        self.mark_regions(regions, id).await?;
        self.lock.record_seen(id, self.clock.now()).await?;
        info!(
            trigger = trigger.name(),
            regions = names(regions),
            "regions marked for a pass"
        );
        self.count_event(regions, EVENTS_SEEN);
        let request = PassRequest {
            trigger,
            id: id.to_owned(),
            began: self.clock.now(),
            approve_mass_removal: false,
        };
        let (reports, record) = join(
            self.run_all(regions, &request),
            self.check_in(&request.trigger),
        )
        .await;
        let observed = |report: &PassReport| {
            matches!(report.outcome, PassOutcome::Done | PassOutcome::Incomplete)
        };
        if reports.iter().any(observed) {
            self.end_outage(record.as_ref()).await;
        }
        Ok(EventOutcome::Handled(reports))
    }

    fn count_event(&self, regions: &[RegionName], metric: Metric) {
        for region in regions {
            let batch = Batch::of([(REGION, region.as_str())]);
            self.metrics.record(batch.with(metric, 1));
        }
    }

    /// Sets the wake marks of regions, so that the holder of a region's lock runs another round.
    /// `id` is the event's id, for the log.
    ///
    /// # Errors
    /// When a mark may not be set.
    pub async fn mark_regions(&self, regions: &[RegionName], id: &str) -> Result<(), LockError> {
        let now = self.clock.now();
        for region in regions {
            self.lock.set_wake_mark(region, id, now).await?;
        }
        Ok(())
    }

    /// Whether a pass holds the region's lock.
    ///
    /// # Errors
    /// When the lock cannot be read.
    pub async fn is_passing(&self, region: &RegionName) -> Result<bool, LockError> {
        self.lock.is_held(region, self.clock.now()).await
    }

    /// Runs a pass for each region, all at the same time. A panic fails only its own region.
    pub async fn run_all(&self, regions: &[RegionName], request: &PassRequest) -> Vec<PassReport> {
        let passes = regions
            .iter()
            .map(|region| catch_panic(region, self.run(region, request)));
        join_all(passes).await
    }
}

/// Turns a panic into a failed report, so that it does not end the passes of other regions.
pub async fn catch_panic(
    region: &RegionName,
    pass: impl Future<Output = PassReport>,
) -> PassReport {
    let fault = "the service panicked: see the panic in the log";
    AssertUnwindSafe(pass)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| PassReport::failed(region, fault))
}

fn names(regions: &[RegionName]) -> String {
    let names: Vec<_> = regions.iter().map(RegionName::as_str).collect();
    names.join(", ")
}
