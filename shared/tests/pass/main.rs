//! The pass over stateful fakes: what is left when it ends, whatever failed in it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod addresses;
mod alerts;
mod passes;
mod replicas;
mod reports;
mod stored_decisions;
mod upgrades;
