//! Tests of `decide`: golden plans, tables and properties.
//!
//! A golden plan is the whole plan of a snapshot with its reasons, as an operator would read it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod addresses;
mod buffer;
mod drift;
mod launches;
mod lifecycle;
mod properties;
mod replicas;
mod spot;
mod support;
mod upgrades;
