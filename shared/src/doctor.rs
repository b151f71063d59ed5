//! `doctor`: is this deployment as it has to be? For whoever has just deployed, and for support.
//!
//! Adapters gather [`facts`] through the [`ports`]; [`judge`] turns facts into checks and has no
//! I/O; [`examine`] asks everything at the same time, each with a time limit of its own, so that
//! one thing that fails or hangs never hides the others. Nothing is changed but the stored
//! [`report`], which the status page shows.

mod examine;
pub mod facts;
mod intended;
pub mod judge;
pub mod ports;
mod regions;
pub mod report;

pub use examine::examine;
pub use ports::{ProbeError, Probes};
pub use report::{Check, Report, Verdict};
