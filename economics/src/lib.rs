//! Plays weeks of arrivals in seconds around the real passes, and measures what a policy costs.
//!
//! Two things are bought with a buffer: users who do not wait, and machines that are idle. This crate
//! says how much of each a policy buys, on recorded and on made-up traffic, beside what somebody would
//! have paid who knew the future.
//!
//! No rule is implemented a second time. A run has the real [`Reconciler`](shared::pass::Reconciler)
//! with the real decisions and the real execution of plans, and the fakes of PostgreSQL, DynamoDB and
//! EC2 that other tests compare with the originals. What is played here is only what those do not
//! contain: users, host agents, boots, and the clock.
//!
//! - [`trace`]: counts or arrivals from a CSV file. [`recorded`]: four of them. [`synthetic`]: made-up
//!   ones.
//! - [`workload`]: one reading of a trace: each user's arrival and length of session.
//! - [`policy`]: what is compared.
//! - [`run`]: plays a workload under a policy. [`outcome`]: what it measures.
//! - [`replay`]: what another setting would have cost a region, from what it recorded.
//! - [`clairvoyant`]: what the same workload costs with knowledge of the future, and a lower bound.
//! - [`frontier`]: policies at several parameters on several traces. [`table`] and [`chart`] show it.
//! - [`goals`]: what `adaptive` is to reach.

pub mod agents;
pub mod boots;
pub mod chart;
pub mod clairvoyant;
pub mod frontier;
pub mod goals;
pub mod outcome;
pub mod policy;
pub mod random;
pub mod recorded;
pub mod replay;
pub mod run;
pub mod synthetic;
pub mod table;
pub mod trace;
pub mod workload;
mod world;

/// Milliseconds since the beginning of a run.
pub type Millis = i64;

/// In whole milliseconds; a time that no run reaches if it does not fit.
pub fn millis(seconds: f64) -> Millis {
    (seconds * 1000.0).round() as Millis
}

/// In seconds.
pub fn seconds(millis: Millis) -> f64 {
    millis as f64 / 1000.0
}
