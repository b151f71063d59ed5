//! When schedules are in force: civil times in a zone become moments.

use jiff::civil::{Date, Time};
use jiff::{SignedDuration, Timestamp};

use crate::settings::Schedule;

/// Once that a schedule is in force: from a moment until before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    pub from: Timestamp,
    pub until: Timestamp,
}

impl Window {
    pub(super) fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }
}

/// A window lasts a day at most, or one and a half where a clock is put back. So those that began on the
/// two dates before may still be in force.
const DATES_BEFORE: i64 = 2;

/// The schedule's windows that have a part in a time, in their order.
///
/// A civil time that a change of the clocks skips or repeats counts so that the window is longest: users who
/// come at the other reading of it find their slots, too.
pub fn windows(schedule: &Schedule, from: Timestamp, to: Timestamp) -> Vec<Window> {
    let date = |at: Timestamp| at.to_zoned(schedule.zone.clone()).date();
    let before = SignedDuration::from_hours(24 * DATES_BEFORE);
    let first = date(from).saturating_sub(before);
    first
        .series(jiff::Span::new().days(1))
        .take_while(|begins| *begins <= date(to))
        .filter(|begins| begins_on(schedule, *begins))
        .filter_map(|begins| window(schedule, begins))
        .filter(|window| window.from < to && window.until > from)
        .collect()
}

fn begins_on(schedule: &Schedule, date: Date) -> bool {
    schedule.days.contains(&date.weekday())
        && schedule.valid_from.is_none_or(|first| first <= date)
        && schedule.valid_until.is_none_or(|last| date <= last)
}

/// None at the end of the calendar.
fn window(schedule: &Schedule, begins: Date) -> Option<Window> {
    let ends = if schedule.until > schedule.from {
        begins
    } else {
        begins.tomorrow().ok()?
    };
    let at = |date: Date, time: Time| {
        let civil = date.to_datetime(time);
        schedule.zone.to_ambiguous_timestamp(civil)
    };
    let window = Window {
        from: at(begins, schedule.from).earlier().ok()?,
        until: at(ends, schedule.until).later().ok()?,
    };
    // A date that a zone has skipped.
    (window.from < window.until).then_some(window)
}
