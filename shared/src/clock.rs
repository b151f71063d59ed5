//! The one home of wall-clock time. Decisions take `now` from the database's observation;
//! only the lock and the deadlines of this process read a clock of their own.

use std::fmt;

use jiff::Timestamp;

/// Tells the time; tests own theirs.
pub trait Clock: Send + Sync + fmt::Debug {
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock's home")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
