//! Wall-clock time. Decisions take `now` from the database's observation; only the lock and the
//! deadlines of this process read a clock.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

/// A source of time that tests can replace.
#[async_trait]
pub trait Clock: Send + Sync + fmt::Debug {
    fn now(&self) -> Timestamp;

    /// Returns after `duration` on this clock.
    async fn sleep(&self, duration: Duration);
}
