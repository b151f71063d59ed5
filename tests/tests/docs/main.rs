//! The documentation agrees with the repository: links, anchors, paths, commands and the tables of
//! settings. Nothing here needs a running server. `tests/database/settings.rs` compares the columns
//! with PostgreSQL.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod alarms;
mod allow_list;
mod commands;
mod compatibility;
mod expanded;
mod functions;
mod links;
mod metrics;
mod paths;
mod permissions;
mod security;
mod settings;
mod templates;
mod type_names;
