//! Users who wait for a place in one region, and when it is worth a line.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use super::show::Show;
use super::tell::count;

/// Nobody has waited for so long: then it is over.
const CALM: Duration = Duration::from_secs(2);

pub(super) struct Queue {
    region: &'static str,
    waiting: Cell<usize>,
    /// The time without capacity that was told of, and is not over.
    shortage: Cell<Option<Shortage>>,
}

#[derive(Clone, Copy)]
struct Shortage {
    users: usize,
    longest: Duration,
    last: Instant,
}

impl Queue {
    pub(super) fn of(region: &'static str) -> Self {
        Self {
            region,
            waiting: Cell::default(),
            shortage: Cell::default(),
        }
    }

    pub(super) fn join(&self, show: &Show<'_>) {
        self.waiting.update(|waiting| waiting + 1);
        let mut shortage = self.shortage.get().unwrap_or_else(|| {
            show.say(&format!(
                "{}: all places are taken; who comes now waits for the machines that start",
                self.region
            ));
            Shortage {
                users: 0,
                longest: Duration::ZERO,
                last: Instant::now(),
            }
        });
        shortage.users += 1;
        self.shortage.set(Some(shortage));
    }

    pub(super) fn leave(&self, waited: Duration) {
        self.waiting.update(|waiting| waiting.saturating_sub(1));
        if let Some(mut shortage) = self.shortage.get() {
            shortage.longest = shortage.longest.max(waited);
            shortage.last = Instant::now();
            self.shortage.set(Some(shortage));
        }
    }

    pub(super) fn look(&self, show: &Show<'_>) {
        let Some(shortage) = self.shortage.get() else {
            return;
        };
        if self.waiting.get() == 0 && shortage.last.elapsed() > CALM {
            self.shortage.set(None);
            show.say(&format!(
                "{}: nobody waits any more; {} waited, {} at the most",
                self.region,
                count(shortage.users, "user"),
                show.took(shortage.longest),
            ));
        }
    }
}
