//! Lines that explain the day: the times of day and the rush hours.

use anyhow::Result;

use super::arrivals::{RUSH_HOUR, utc_time};
use super::clock::DayTime;
use super::day::Day;
use super::regions::REGIONS;
use super::text::count;
use super::users::Users;

/// Lines that are printed at a fixed time.
const TIMES: [(DayTime, &str); 6] = [
    (
        DayTime::at(0, 0),
        "midnight in Ireland, evening in America: every region has its target of free slots",
    ),
    (
        DayTime::at(5, 30),
        "the quietest time: hardly any user is online, and each region keeps only its free slots",
    ),
    (
        DayTime::at(7, 0),
        "morning in Ireland: the first users arrive",
    ),
    (
        DayTime::at(11, 45),
        "users of the rush hour leave; VMs that are no longer needed are removed one by one",
    ),
    (
        DayTime::at(20, 0),
        "evening in Ireland, afternoon in America",
    ),
    (DayTime::END, "the day is over: no more users arrive"),
];

/// Prints each of [`TIMES`] when it comes.
pub(super) async fn announce_times(day: &Day<'_>) -> Result<()> {
    for (time, text) in TIMES {
        day.clock.sleep_until(time).await;
        day.print(text);
    }
    Ok(())
}

/// Prints when the rush hour of a region begins and ends, and how many users had to wait. `region`
/// is an index in [`REGIONS`].
pub(super) async fn announce_rush_hour(
    day: &Day<'_>,
    users: &Users<'_>,
    region: usize,
) -> Result<()> {
    let name = REGIONS[region].name;
    let from = utc_time(&REGIONS[region], RUSH_HOUR.0);
    let to = utc_time(&REGIONS[region], RUSH_HOUR.1);
    day.clock.sleep_until(from).await;
    day.print(&format!(
        "{name}: the morning rush hour begins (08:30 local time)"
    ));
    day.clock.sleep_until(to).await;
    let (arrived, waited) = users.count_between(region, from, to);
    let waited = match waited {
        0 => "none".to_owned(),
        waited => waited.to_string(),
    };
    let arrived = count(arrived, "user");
    day.print(&format!(
        "{name}: the rush hour ends: {arrived} arrived since {from}, {waited} of them had to wait"
    ));
    Ok(())
}
