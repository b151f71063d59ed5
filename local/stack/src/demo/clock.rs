//! The clock of a day that passes in minutes.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

const HOUR: u32 = 3_600;
const DAY: u32 = 24 * HOUR;

/// So many seconds since the day's midnight. It goes on after the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DayTime(pub(super) u32);

impl DayTime {
    pub(super) const END: Self = Self(DAY);

    pub(super) const fn at(hour: u32, minute: u32) -> Self {
        Self(hour * HOUR + minute * 60)
    }

    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0).into())
    }

    pub(super) fn plus(self, time: Duration) -> Self {
        Self(self.0 + u32::try_from(time.as_secs()).unwrap_or(DAY))
    }
}

/// As a clock on the wall shows it.
impl fmt::Display for DayTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.0 / 60;
        write!(f, "{:02}:{:02}", minutes / 60 % 24, minutes % 60)
    }
}

/// How much faster than this machine's clock the day's is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// What a day takes.
    day: Duration,
}

impl Pace {
    pub(super) fn of_minutes(minutes: u32) -> Self {
        let day = Duration::from_secs(60) * minutes;
        Self { day }
    }

    /// What a time of the day takes.
    pub(super) fn real(self, of_day: Duration) -> Duration {
        self.day
            .mul_f64(of_day.as_secs_f64() / Duration::from_secs(DAY.into()).as_secs_f64())
    }

    /// What has passed of the day meanwhile.
    pub(super) fn of_day(self, real: Duration) -> Duration {
        Duration::from_secs(DAY.into()).mul_f64(real.as_secs_f64() / self.day.as_secs_f64())
    }
}

/// A day that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) pace: Pace,
    midnight: Instant,
}

impl Clock {
    /// It is midnight now.
    pub(super) fn start(pace: Pace) -> Self {
        let midnight = Instant::now();
        Self { pace, midnight }
    }

    pub(super) fn now(&self) -> DayTime {
        DayTime(0).plus(self.pace.of_day(self.midnight.elapsed()))
    }

    /// Waits until it is so late.
    pub(super) async fn reach(&self, time: DayTime) {
        let real = self.pace.real(time.since(DayTime(0)));
        tokio::time::sleep_until(self.midnight + real).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_shows_hours_and_minutes_also_after_midnight() {
        assert_eq!(DayTime::at(8, 5).to_string(), "08:05");
        assert_eq!(DayTime(DayTime::at(23, 59).0 + 59).to_string(), "23:59");
        let late = DayTime::END.plus(Duration::from_secs(90 * 60));
        assert_eq!(late.to_string(), "01:30");
    }

    #[test]
    fn a_day_of_six_minutes_has_an_hour_of_fifteen_seconds() {
        let pace = Pace::of_minutes(6);
        let hour = Duration::from_secs(3_600);
        assert_eq!(pace.real(hour), Duration::from_secs(15));
        assert_eq!(pace.of_day(Duration::from_secs(15)), hour);
    }
}
