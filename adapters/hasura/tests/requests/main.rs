//! The adapter's requests and what it makes of the answers, against a server of the test.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod answers;
mod assigning;
mod repetition;
mod server;
