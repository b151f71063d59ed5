//! The whole function, with fakes of the database and of the lock table.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]
#![allow(unreachable_pub, reason = "nothing is outside of a test binary")]

mod answers;
mod doctor;
mod events;
mod health;
mod history;
mod log_levels;
mod metrics;
mod page;
mod regions;
mod replay;
mod sessions;
mod support;
mod usage;
