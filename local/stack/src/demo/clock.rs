//! The clock of a simulated day that passes in minutes.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

const HOUR: u32 = 3_600;
const DAY: u32 = 24 * HOUR;

/// A time of the simulated day, in seconds after midnight. It continues after the next midnight.
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

/// `HH:MM`, which starts again at 00:00 after midnight.
impl fmt::Display for DayTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.0 / 60;
        write!(f, "{:02}:{:02}", minutes / 60 % 24, minutes % 60)
    }
}

/// How fast the simulated day passes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The real time of a simulated day.
    day: Duration,
}

impl Pace {
    /// A day that passes in so many real minutes.
    pub(super) fn from_minutes(minutes: u32) -> Self {
        let day = Duration::from_secs(60) * minutes;
        Self { day }
    }

    /// Converts simulated time to real time.
    pub(super) fn to_real(self, simulated: Duration) -> Duration {
        self.day
            .mul_f64(simulated.as_secs_f64() / Duration::from_secs(DAY.into()).as_secs_f64())
    }

    /// Converts real time to simulated time.
    pub(super) fn to_simulated(self, real: Duration) -> Duration {
        Duration::from_secs(DAY.into()).mul_f64(real.as_secs_f64() / self.day.as_secs_f64())
    }
}

/// The clock of a day that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) pace: Pace,
    midnight: Instant,
}

impl Clock {
    /// Starts the clock at midnight.
    pub(super) fn start(pace: Pace) -> Self {
        let midnight = Instant::now();
        Self { pace, midnight }
    }

    pub(super) fn now(&self) -> DayTime {
        DayTime(0).plus(self.pace.to_simulated(self.midnight.elapsed()))
    }

    /// Sleeps until the clock shows `time`.
    pub(super) async fn sleep_until(&self, time: DayTime) {
        let real = self.pace.to_real(time.since(DayTime(0)));
        tokio::time::sleep_until(self.midnight + real).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn day_time_is_printed_as_hours_and_minutes_also_after_midnight() {
        assert_eq!(DayTime::at(8, 5).to_string(), "08:05");
        assert_eq!(DayTime(DayTime::at(23, 59).0 + 59).to_string(), "23:59");
        let late = DayTime::END.plus(Duration::from_secs(90 * 60));
        assert_eq!(late.to_string(), "01:30");
    }

    #[test]
    fn hour_of_a_six_minute_day_takes_fifteen_seconds() {
        let pace = Pace::from_minutes(6);
        let hour = Duration::from_secs(3_600);
        assert_eq!(pace.to_real(hour), Duration::from_secs(15));
        assert_eq!(pace.to_simulated(Duration::from_secs(15)), hour);
    }
}
