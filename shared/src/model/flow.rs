//! The flow of users through a region: what the algorithm `adaptive` sizes its buffer by.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// In how many steps arrivals and ends are counted, each as long as from one scheduled pass to the next
/// (`pass_seconds`).
pub const FLOW_STEPS: usize = 15;

/// What a region's history says, as a pass observes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Users who came in each of the last [`FLOW_STEPS`], the last one first: those who were
    /// served, and those in line who are demand here.
    pub arrivals: Vec<u32>,
    /// Sessions that ended in all of these steps.
    pub ends: u32,
    /// By how many spreads the buffer exceeds the expected need, in millionths. Passes tune it to the
    /// users who were not served at once.
    pub safety_millionths: i64,
    /// The last boots of instances that are gone.
    pub boots: Vec<Boot>,
}

/// How long an instance took from its launch until it was `ACTIVE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    pub launched_at: Timestamp,
    pub active_at: Timestamp,
    pub instance_type: String,
    /// None for an instance whose pool is not known.
    pub spot: Option<bool>,
}

impl Boot {
    pub fn lasted(&self) -> SignedDuration {
        self.active_at.duration_since(self.launched_at)
    }
}
