//! The whole function, with fakes of the database and of the lock table.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]
#![allow(unreachable_pub, reason = "nothing is outside of a test binary")]

mod answers;
mod events;
mod health;
mod page;
mod regions;
mod support;
