//! Tests of `decide`: golden plans, tables and properties.
//!
//! A golden plan is the whole plan of a snapshot with its reasons, as an operator would read it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod adaptive;
mod addresses;
mod app_version;
mod budget;
mod buffer;
mod drift;
mod endings;
mod forecast;
mod instance_addresses;
mod launch_settings;
mod launches;
mod leaves;
mod lifecycle;
mod properties;
mod replicas;
mod rests;
mod schedules;
mod spot;
mod support;
mod suspects;
mod tokens;
mod upgrades;
