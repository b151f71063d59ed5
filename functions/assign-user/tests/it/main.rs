//! The whole function in this process, with real signatures and real HTTP to a fake identity
//! provider and a fake GraphQL engine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]
#![allow(unreachable_pub, reason = "nothing is outside of a test binary")]

mod assigning;
mod events;
mod http_rules;
mod key_check;
mod key_sets;
mod line;
mod log_levels;
mod log_lines;
mod metrics;
mod robustness;
mod support;
mod tokens;
mod traces;
