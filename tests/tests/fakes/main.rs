//! The fakes are not taken on trust: real Postgres and its fake, DynamoDB and its fake are driven
//! with the same random histories and must answer alike, and keep the same rows. That this can
//! fail is shown by fakes that are wrong on purpose: the same histories must tell each of them.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod database;
mod history;
mod random;
mod store;
