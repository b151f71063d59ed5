//! Golden plans and properties of `decide`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod addresses;
mod golden;
mod properties;
mod replicas;
mod support;
mod upgrades;
