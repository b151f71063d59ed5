//! Schedules: when they are in force, over changes of the clocks, and the target that they set.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use shared::scaling::{Snapshot, Window, target, windows};
use shared::settings::{BadSchedule, RegionSettings, Schedule, ScheduleKind};
use testing::{NOW, at, instance, schedule, settings, snapshot};

use crate::support::assert_plan;

/// A row of `schedules` as PostgreSQL gives it.
fn row(days: &str, from: &str, until: &str, zone: &str) -> Value {
    json!({
        "id": 1, "days": days, "from_time": from, "until_time": until, "time_zone": zone,
        "kind": "FLOOR", "slots": 9, "valid_from": null, "valid_until": null, "set_by": "ann",
        "note": "",
    })
}

/// The settings of a region with these rows.
fn read(rows: &Value) -> RegionSettings {
    let row = json!({
        "name": "us-east-1", "target_free": 4, "max_instances": 10, "launch_choices": [],
        "schedules": rows,
    });
    RegionSettings::from_columns(row.as_object().unwrap()).unwrap()
}

fn of(row: &Value) -> Schedule {
    let settings = read(&json!([row]));
    assert_eq!(settings.schedule_problems, []);
    settings.schedules[0].clone()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The windows of a week from a date on, as texts in UTC.
fn week(schedule: &Schedule, from: &str) -> Vec<String> {
    let from = time(&format!("{from}T00:00:00Z"));
    let week = from + SignedDuration::from_hours(7 * 24);
    let windows = windows(schedule, from, week);
    let text = |window: &Window| format!("{} to {}", window.from, window.until);
    windows.iter().map(text).collect()
}

#[test]
fn window_is_the_same_civil_time_before_and_after_the_clocks_change() {
    let berlin = of(&row("SAT,SUN,MON", "09:00:00", "18:00:00", "Europe/Berlin"));
    // Forward on the 29th of March, back on the 25th of October.
    assert_eq!(
        week(&berlin, "2026-03-27"),
        [
            "2026-03-28T08:00:00Z to 2026-03-28T17:00:00Z",
            "2026-03-29T07:00:00Z to 2026-03-29T16:00:00Z",
            "2026-03-30T07:00:00Z to 2026-03-30T16:00:00Z",
        ]
    );
    assert_eq!(
        week(&berlin, "2026-10-23"),
        [
            "2026-10-24T07:00:00Z to 2026-10-24T16:00:00Z",
            "2026-10-25T08:00:00Z to 2026-10-25T17:00:00Z",
            "2026-10-26T08:00:00Z to 2026-10-26T17:00:00Z",
        ]
    );
}

#[test]
fn times_that_are_skipped_or_repeated_make_the_window_longest() {
    let at_night = of(&row("SUN", "02:30:00", "02:45:00", "Europe/Berlin"));
    // 02:00 to 03:00 is skipped: 02:30 is 01:30 before the change, and 02:45 is 03:45 after it.
    assert_eq!(
        week(&at_night, "2026-03-27"),
        ["2026-03-29T00:30:00Z to 2026-03-29T01:45:00Z"]
    );
    // It comes twice: from the first 02:30 until the second 02:45.
    assert_eq!(
        week(&at_night, "2026-10-23"),
        ["2026-10-25T00:30:00Z to 2026-10-25T01:45:00Z"]
    );
}

#[test]
fn whole_days_are_23_and_25_hours_long_when_the_clocks_change() {
    let all_day = of(&row("SUN", "00:00:00", "24:00:00", "America/New_York"));
    assert_eq!(
        week(&all_day, "2026-03-08"),
        ["2026-03-08T05:00:00Z to 2026-03-09T04:00:00Z"]
    );
    assert_eq!(
        week(&all_day, "2026-11-01"),
        ["2026-11-01T04:00:00Z to 2026-11-02T05:00:00Z"]
    );
}

#[test]
fn zones_with_half_hours_are_half_hours_off() {
    let kolkata = of(&row("MON", "09:00:00", "10:30:00", "Asia/Kolkata"));
    assert_eq!(
        week(&kolkata, "2026-01-05"),
        ["2026-01-05T03:30:00Z to 2026-01-05T05:00:00Z"]
    );
    // Lord Howe changes by half an hour: forward on the 4th of October, back on the 5th of April.
    let lord_howe = of(&row(
        "SAT,SUN",
        "01:30:00",
        "09:00:00",
        "Australia/Lord_Howe",
    ));
    assert_eq!(
        week(&lord_howe, "2026-10-02"),
        [
            "2026-10-02T15:00:00Z to 2026-10-02T22:30:00Z",
            "2026-10-03T15:00:00Z to 2026-10-03T22:00:00Z",
        ]
    );
    // 01:30 to 02:00 comes twice: the window begins at the first 01:30.
    assert_eq!(
        week(&lord_howe, "2026-04-03"),
        [
            "2026-04-03T14:30:00Z to 2026-04-03T22:00:00Z",
            "2026-04-04T14:30:00Z to 2026-04-04T22:30:00Z",
        ]
    );
}

#[test]
fn window_over_midnight_belongs_to_the_day_on_which_it_begins() {
    let night = of(&row("FRI", "22:00:00", "02:00:00", "Asia/Tokyo"));
    assert_eq!(
        week(&night, "2026-01-01"),
        ["2026-01-02T13:00:00Z to 2026-01-02T17:00:00Z"]
    );
    // It lasts into the time that is asked for.
    let windows = windows(
        &night,
        time("2026-01-02T16:59:59Z"),
        time("2026-01-02T18:00:00Z"),
    );
    assert_eq!(windows.len(), 1);
}

#[test]
fn valid_dates_are_those_of_the_zone_on_which_it_begins() {
    let mut once = row(
        "MON,TUE,WED,THU,FRI,SAT,SUN",
        "20:00:00",
        "04:00:00",
        "Pacific/Auckland",
    );
    once["valid_from"] = json!("2026-01-08");
    once["valid_until"] = json!("2026-01-08");
    assert_eq!(
        week(&of(&once), "2026-01-05"),
        ["2026-01-08T07:00:00Z to 2026-01-08T15:00:00Z"]
    );
}

#[test]
fn schedule_that_cannot_be_read_leaves_the_others() {
    let settings = read(&json!([
        row("MON", "09:00:00", "10:00:00", "Mars/Olympus"),
        row("MON", "09:00:00", "10:00:00", "UTC"),
        row("MOON", "09:00:00", "10:00:00", "UTC"),
    ]));
    assert_eq!(settings.schedules.len(), 1);
    let problems: Vec<_> = settings.schedule_problems.iter().collect();
    assert!(problems[0].problem.contains("Mars/Olympus"), "{problems:?}");
    assert!(problems[1].problem.contains("MOON"), "{problems:?}");
}

/// The settings of tests: a target of 4, boots of up to ten minutes, any number of instances a pass.
fn with(schedules: impl IntoIterator<Item = Schedule>) -> RegionSettings {
    RegionSettings {
        schedules: schedules.into_iter().collect(),
        ..settings()
    }
}

fn floor(slots: u32, hours: (&str, &str)) -> Schedule {
    schedule(1, ScheduleKind::Floor, slots, hours)
}

fn fixed(slots: u32, hours: (&str, &str)) -> Schedule {
    schedule(2, ScheduleKind::Fixed, slots, hours)
}

/// The target at a time of the day, and the schedule that has set it.
#[track_caller]
fn assert_target(settings: &RegionSettings, at: &str, slots: u32, schedule: Option<i64>) {
    let found = target(settings, time(&format!("2026-01-01T{at}Z")));
    let by = found.schedule.map(|(schedule, _)| schedule.id);
    assert_eq!((found.slots, by), (slots, schedule), "{at}");
}

#[test]
fn floor_counts_from_one_boot_and_one_pass_before_it_begins() {
    let settings = with([floor(9, ("12:00", "14:00"))]);
    assert_target(&settings, "11:48:59", 4, None);
    assert_target(&settings, "11:49:00", 9, Some(1));
    assert_target(&settings, "13:59:59", 9, Some(1));
    assert_target(&settings, "14:00:00", 4, None);
}

#[test]
fn floor_below_the_setting_does_not_count() {
    let settings = with([floor(3, ("12:00", "14:00"))]);
    assert_target(&settings, "13:00:00", 4, None);
}

#[test]
fn fixed_target_replaces_a_higher_setting_when_it_begins_and_no_earlier() {
    let settings = with([fixed(0, ("12:00", "14:00"))]);
    assert_target(&settings, "11:59:59", 4, None);
    assert_target(&settings, "12:00:00", 0, Some(2));
    assert_target(&settings, "13:48:59", 0, Some(2));
    // The setting's slots are there when it ends.
    assert_target(&settings, "13:49:00", 4, None);
}

#[test]
fn floor_holds_beside_a_fixed_target_and_the_highest_of_several_counts() {
    let mut other = floor(7, ("12:30", "13:00"));
    other.id = 3;
    let settings = with([
        fixed(2, ("12:00", "14:00")),
        floor(5, ("12:00", "13:00")),
        other,
    ]);
    assert_target(&settings, "12:10:00", 5, Some(1));
    assert_target(&settings, "12:45:00", 7, Some(3));
    assert_target(&settings, "13:30:00", 2, Some(2));
}

#[test]
fn small_steps_begin_earlier() {
    let mut settings = with([floor(12, ("12:00", "14:00"))]);
    settings.scale_up_step = 2;
    // Six instances of two slots: three passes.
    assert_target(&settings, "11:46:59", 4, None);
    assert_target(&settings, "11:47:00", 12, Some(1));
    // No more instances than may live.
    settings.max_instances = 2;
    assert_target(&settings, "11:48:59", 4, None);
    settings.max_instances = 1000;
    settings.schedules[0].slots = 100_000;
    settings.launch_choices.clear();
    assert_target(&settings, "05:59:59", 4, None);
    assert_target(&settings, "06:00:00", 100_000, Some(1));
}

/// The snapshot of a full region at noon, with a schedule.
fn at_noon(schedule: Schedule) -> Snapshot {
    let mut snapshot = snapshot([instance("i-1"), instance("i-2")]);
    assert!(NOW == time("2026-01-01T12:00:00Z"));
    snapshot.settings.schedules.push(schedule);
    snapshot
}

#[test]
fn plan_names_the_schedule_that_set_its_target() {
    let mut due = floor(8, ("12:10", "20:00"));
    due.note = "class at ten past".to_owned();
    assert_plan(
        &at_noon(due),
        "target 8, free 4, starting 0, waiting 0, occupied 0, live 2 of 10
        - launch from ami-1: 2 x c5.large in subnet-a, or 2 x c5.large in subnet-b: free 4 and starting 0 are below target 8 + waiting 0
        · the target is 8: FLOOR of schedule 1, from 2026-01-01T12:10:00Z until 2026-01-01T20:00:00Z, set by \"ann\": \"class at ten past\"",
    );
    assert_plan(
        &at_noon(fixed(0, ("08:00", "12:20"))),
        "target 0, free 4, starting 0, waiting 0, occupied 0, live 2 of 10
        - drain i-1: free 4 meets the target of 0 without it
        - drain i-2: free 2 meets the target of 0 without it
        · the target is 0: FIXED of schedule 2, from 2026-01-01T08:00:00Z until 2026-01-01T12:20:00Z, set by \"ann\"
        · free 4 and starting 0 meet the target of 0",
    );
}

#[test]
fn upgrade_warms_as_many_slots_as_the_schedule_says() {
    let mut snapshot = at_noon(fixed(2, ("08:00", "20:00")));
    snapshot
        .images
        .push(testing::image("ami-2", shared::model::ImageState::Warming));
    let plan = shared::scaling::decide(&snapshot, NOW).unwrap();
    let warming = plan
        .images
        .iter()
        .find(|image| image.image == "ami-2".into());
    assert_eq!(warming.map(|image| image.demand), Some(2));
}

#[test]
fn disabled_region_has_no_target() {
    let mut snapshot = at_noon(floor(8, ("08:00", "20:00")));
    snapshot.settings.enabled = false;
    let plan = shared::scaling::decide(&snapshot, at(0)).unwrap();
    assert_eq!(plan.counts.target, 0);
}

#[test]
fn schedule_that_cannot_work_is_alerted() {
    let mut snapshot = snapshot([instance("i-1"), instance("i-2")]);
    snapshot.settings.schedule_problems = vec![BadSchedule {
        schedule: 7,
        problem: "is wrong".to_owned(),
    }];
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 0, waiting 0, occupied 0, live 2 of 10
        ! schedule 7 does not count: is wrong
        · free 4 and starting 0 meet the target of 4",
    );
}
