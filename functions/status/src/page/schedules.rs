//! The table of a region's week ahead.

use jiff::Timestamp;
use shared::settings::ScheduleKind;

use super::words::distance;
use crate::model::{RegionStatus, ScheduledTime};

/// A time in which a schedule is in force.
pub(super) struct ScheduleRow {
    /// By the clocks of its zone.
    pub(super) when: String,
    pub(super) zone: String,
    /// `now`, `in 3 h`.
    pub(super) begins: String,
    pub(super) slots: String,
    pub(super) set_by: String,
    /// Until when it comes again.
    pub(super) until: String,
    pub(super) note: String,
}

pub(super) fn rows(region: &RegionStatus, now: Timestamp) -> Vec<ScheduleRow> {
    region.schedule.iter().map(|time| row(time, now)).collect()
}

fn row(time: &ScheduledTime, now: Timestamp) -> ScheduleRow {
    ScheduleRow {
        when: time.local.clone(),
        zone: time.time_zone.clone(),
        begins: if time.from <= now {
            "now".to_owned()
        } else {
            distance(now, time.from)
        },
        slots: match time.kind {
            ScheduleKind::Floor => format!("at least {}", time.slots),
            ScheduleKind::Fixed => format!("exactly {}", time.slots),
        },
        set_by: format!("{} (schedule {})", time.set_by, time.schedule),
        until: time
            .valid_until
            .map_or("no end".to_owned(), |last| last.to_string()),
        note: time.note.clone(),
    }
}
