//! The one home of wall-clock time. Decisions take `now` from the database's observation;
//! only the lock and the deadlines of this process read a clock of their own.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

/// Tells the time; tests own theirs.
#[async_trait]
pub trait Clock: Send + Sync + fmt::Debug {
    fn now(&self) -> Timestamp;

    /// Returns when so much time has passed on this clock.
    async fn sleep(&self, duration: Duration);
}
