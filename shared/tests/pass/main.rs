//! Passes over stateful fakes. The tests assert the state that a pass leaves, whatever failed in it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod addresses;
mod alerts;
mod ec2;
mod held_rows;
mod launches;
mod metrics;
mod passes;
mod replicas;
mod reports;
mod stored_decisions;
mod tokens;
mod upgrades;
