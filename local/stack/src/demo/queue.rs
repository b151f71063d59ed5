//! The users who wait for a slot in one region. Prints when waiting begins and ends.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use super::day::Day;
use super::text::count;

/// Waiting has ended when nobody has waited for this long. Shorter pauses are not worth a line.
const CALM: Duration = Duration::from_secs(2);

pub(super) struct Queue {
    region: &'static str,
    waiting: Cell<usize>,
    /// The current period of waiting, whose beginning was printed.
    period: Cell<Option<WaitingPeriod>>,
}

#[derive(Clone, Copy)]
struct WaitingPeriod {
    users: usize,
    longest: Duration,
    /// When the last user stopped waiting.
    last: Instant,
}

impl Queue {
    pub(super) fn new(region: &'static str) -> Self {
        Self {
            region,
            waiting: Cell::default(),
            period: Cell::default(),
        }
    }

    /// Adds a user who was refused for lack of capacity.
    pub(super) fn join(&self, day: &Day<'_>) {
        self.waiting.update(|waiting| waiting + 1);
        let mut period = self.period.get().unwrap_or_else(|| {
            day.print(&format!(
                "{}: all slots are taken; new users wait until VMs have started",
                self.region
            ));
            WaitingPeriod {
                users: 0,
                longest: Duration::ZERO,
                last: Instant::now(),
            }
        });
        period.users += 1;
        self.period.set(Some(period));
    }

    /// Removes a user who has waited for the real time `waited`.
    pub(super) fn leave(&self, waited: Duration) {
        self.waiting.update(|waiting| waiting.saturating_sub(1));
        if let Some(mut period) = self.period.get() {
            period.longest = period.longest.max(waited);
            period.last = Instant::now();
            self.period.set(Some(period));
        }
    }

    /// Prints a line if a period of waiting has ended.
    pub(super) fn report_end(&self, day: &Day<'_>) {
        let Some(period) = self.period.get() else {
            return;
        };
        if self.waiting.get() == 0 && period.last.elapsed() > CALM {
            self.period.set(None);
            day.print(&format!(
                "{}: no user waits any more; {} had to wait, for at most {}",
                self.region,
                count(period.users, "user"),
                day.simulated(period.longest),
            ));
        }
    }
}
