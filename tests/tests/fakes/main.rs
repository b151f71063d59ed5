//! The fakes are compared with the real servers: PostgreSQL and its fake, DynamoDB and its fake get
//! the same random histories and must give equal answers and keep equal rows. Fakes with one rule
//! changed on purpose prove that the comparison can fail: the histories must distinguish each of
//! them.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

mod comparison;
mod database;
mod history;
mod service;
mod sessions;
mod store;
