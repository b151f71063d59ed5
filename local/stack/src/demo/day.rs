//! The running day: its stack, its clock, and the status page as last read.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use super::clock::{Clock, DayTime};
use super::stack::DemoStack;
use super::status::Status;
use super::text;

/// Pause between two reads of the status page, and between two checks of a condition.
pub(super) const POLL: Duration = Duration::from_millis(500);

pub(super) struct Day<'a> {
    pub(super) stack: &'a DemoStack,
    pub(super) clock: Clock,
    /// The status page as last read; `None` before the first read.
    status: RefCell<Option<Status>>,
    /// When the new client was published.
    pub(super) client_published: Cell<Option<DayTime>>,
}

impl<'a> Day<'a> {
    /// Starts the day's clock at midnight.
    pub(super) fn begin(stack: &'a DemoStack) -> Self {
        Self {
            stack,
            clock: Clock::start(stack.pace),
            status: RefCell::default(),
            client_published: Cell::default(),
        }
    }

    /// Prints a line with the time of day.
    pub(super) fn print(&self, text: &str) {
        println!("{}", text::line(self.clock.now(), text));
    }

    /// Formats a real duration in simulated time.
    pub(super) fn simulated(&self, real: Duration) -> String {
        text::duration(self.clock.pace.to_simulated(real))
    }

    pub(super) fn status(&self) -> Option<Status> {
        self.status.borrow().clone()
    }

    pub(super) fn set_status(&self, status: Status) {
        self.status.replace(Some(status));
    }

    /// Calls `check` until it returns a value, and returns that. Returns `None` when there is no
    /// value after the real time `within`.
    ///
    /// # Errors
    /// Those of `check`.
    pub(super) async fn poll_until<T>(
        &self,
        within: Duration,
        mut check: impl AsyncFnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(value) = check().await? {
                return Ok(Some(value));
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            sleep(POLL).await;
        }
    }
}
