//! What passes send out where nothing depends on it, and ids that are the same in every run.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use shared::alerts::{Alerts, Problem};
use shared::ids::{RegionName, UniqueIds};
use shared::metrics::{Batch, Metrics};
use shared::pass::{HandOverError, ReconcileInvoker};

/// Accepts alerts, metrics and hand-overs, and keeps none. A pass that hands over has marked the region, and the
/// next scheduled one reads the mark.
#[derive(Debug, Default)]
pub struct Discarded;

#[async_trait]
impl Alerts for Discarded {
    async fn send(&self, _region: &RegionName, _problems: &[Problem]) -> bool {
        true
    }
}

impl Metrics for Discarded {
    fn record(&self, _batch: Batch) {}
}

#[async_trait]
impl ReconcileInvoker for Discarded {
    async fn hand_over(&self, _region: &RegionName, _id: &str) -> Result<(), HandOverError> {
        Ok(())
    }
}

/// Ids that are unique within a run: u1, u2 and so on.
#[derive(Debug, Default)]
pub struct CountedIds(AtomicU64);

impl UniqueIds for CountedIds {
    fn unique(&self) -> String {
        format!("u{}", self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
