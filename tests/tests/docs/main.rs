//! The documentation agrees with the repository: links, anchors, paths, commands and the tables of
//! settings. Nothing here needs a running server. `tests/database/settings.rs` compares the columns
//! with PostgreSQL.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod commands;
mod links;
mod paths;
mod settings;
mod templates;
