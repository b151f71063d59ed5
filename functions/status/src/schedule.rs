//! The week ahead of a region: when its schedules are in force.

use jiff::{SignedDuration, Timestamp};
use shared::scaling::{Window, windows};
use shared::settings::Schedule;

use crate::model::ScheduledTime;

const AHEAD: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The times within a week, in their order.
pub(crate) fn week_ahead(schedules: &[Schedule], now: Timestamp) -> Vec<ScheduledTime> {
    let mut times: Vec<_> = schedules
        .iter()
        .flat_map(|schedule| {
            let windows = windows(schedule, now, now + AHEAD);
            windows.into_iter().map(|window| time(schedule, window))
        })
        .collect();
    times.sort_by_key(|time| (time.from, time.schedule));
    times
}

fn time(schedule: &Schedule, window: Window) -> ScheduledTime {
    let [from, until] = [window.from, window.until].map(|at| at.to_zoned(schedule.zone.clone()));
    ScheduledTime {
        from: window.from,
        until: window.until,
        local: format!(
            "{} to {}",
            from.strftime("%a %Y-%m-%d %H:%M"),
            until.strftime("%a %H:%M")
        ),
        time_zone: schedule.zone.iana_name().unwrap_or_default().to_owned(),
        schedule: schedule.id,
        kind: schedule.kind,
        slots: schedule.slots,
        set_by: schedule.set_by.clone(),
        note: schedule.note.clone(),
        valid_until: schedule.valid_until,
    }
}
