//! A day that is on: its clock, and what is known of it at this moment.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use super::clock::{Clock, DayTime};
use super::page::Page;
use super::places::PLACES;
use super::stage::Stage;
use super::tell;
use super::users::Users;

/// Between two looks at anything.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Between two lines about all regions.
const LINE_EVERY: u32 = 2 * 3_600;

/// So many looks at the page may fail one after the other.
const FAILED_LOOKS: u32 = 10;

pub(super) struct Show<'a> {
    pub(super) stage: &'a Stage,
    pub(super) clock: Clock,
    /// As it was last seen.
    page: RefCell<Option<Page>>,
    /// When the new client was published.
    pub(super) published: Cell<Option<DayTime>>,
}

impl<'a> Show<'a> {
    pub(super) fn begin(stage: &'a Stage) -> Self {
        Self {
            stage,
            clock: Clock::start(stage.pace),
            page: RefCell::default(),
            published: Cell::default(),
        }
    }

    pub(super) fn say(&self, text: &str) {
        println!("{}", tell::line(self.clock.now(), text));
    }

    /// A time of this machine as one of the day.
    pub(super) fn took(&self, real: Duration) -> String {
        minutes(self.clock.pace.of_day(real))
    }

    pub(super) fn page(&self) -> Option<Page> {
        self.page.borrow().clone()
    }

    /// Looks again and again until there is something, for so long at the most.
    pub(super) async fn until<T>(
        &self,
        within: Duration,
        mut look: impl AsyncFnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(seen) = look().await? {
                return Ok(Some(seen));
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Keeps looking at the page, and tells now and then how all regions are.
    ///
    /// # Errors
    /// When the page cannot be read any more.
    pub(super) async fn watch(&self, users: &Users<'_>) -> Result<Infallible> {
        let mut next_line = LINE_EVERY;
        let mut failed = 0;
        loop {
            match Page::read(self.stage.stack.env()).await {
                Ok(page) => {
                    failed = 0;
                    self.page.replace(Some(page));
                }
                Err(error) if failed == FAILED_LOOKS => return Err(error),
                Err(_) => failed += 1,
            }
            users.look_at_queues();
            if self.clock.now().0 >= next_line {
                self.tell_all();
                next_line += LINE_EVERY;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn tell_all(&self) {
        let Some(page) = self.page() else { return };
        let regions = PLACES.iter().filter_map(|place| page.region(place.region));
        let lines: Vec<_> = regions.map(super::page::Region::line).collect();
        self.say(&lines.join("  "));
    }
}

/// `5 minutes`, `1 h 5 min`.
pub(super) fn minutes(of_day: Duration) -> String {
    let minutes = (of_day.as_secs() + 30) / 60;
    match (minutes / 60, minutes % 60) {
        (0, 1) => "1 minute".to_owned(),
        (0, minutes) => format!("{minutes} minutes"),
        (hours, minutes) => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_minutes_and_hours() {
        let told = |seconds| minutes(Duration::from_secs(seconds));
        assert_eq!(told(20), "0 minutes");
        assert_eq!(told(60), "1 minute");
        assert_eq!(told(629), "10 minutes");
        assert_eq!(told(3_900), "1 h 05 min");
    }
}
