//! A recorded day of the demonstration, replayed, gives that day.
//!
//! `data/demonstration.json` is what the service's own history had of one `make demo`, from midnight until
//! a new image was rolled out, which replays do not play: 345 users in three regions. A day takes six
//! minutes there, and a pass comes every two seconds.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like tests"
)]

use jiff::SignedDuration;
use scaling_economics::replay::{Figures, Question, Replay, Result, replay};
use serde_json::{Map, Value, json};
use shared::recording::{RecordedSession, Recording};
use testing::NOW;

const DAY: &str = include_str!("data/demonstration.json");

fn seconds(number: &Value) -> SignedDuration {
    SignedDuration::try_from_secs_f64(number.as_f64().unwrap()).unwrap()
}

fn recording(region: &Value) -> Recording {
    let count = |name: &str| u32::try_from(region[name].as_u64().unwrap()).unwrap();
    // Each session: when its user asked, how long they waited, and how long they stayed.
    let session = |session: &Value| {
        let requested_at = NOW + seconds(&session[0]);
        let assigned_at = requested_at + seconds(&session[1]);
        RecordedSession {
            requested_at,
            assigned_at,
            ended_at: Some(assigned_at + seconds(&session[2])),
        }
    };
    let sessions = region["sessions"].as_array().unwrap();
    Recording {
        region: region["region"].as_str().unwrap().into(),
        settings: region["settings"].as_object().unwrap().clone(),
        from: NOW,
        to: NOW + seconds(&region["seconds"]),
        sessions: sessions.iter().map(session).collect(),
        unserved: vec![],
        boots: serde_json::from_value(region["boots"].clone()).unwrap(),
        registered: count("registered"),
        never_registered: count("never_registered"),
        slots: count("slots"),
        machine_seconds: region["machine_seconds"].as_f64().unwrap(),
    }
}

/// The replays of all regions, with these settings instead of those that were set.
fn played(settings: &Value) -> Vec<(Replay, Figures)> {
    let regions: Vec<Value> = serde_json::from_str(DAY).unwrap();
    let play = |region: &Value| {
        let mut recording = recording(region);
        recording
            .settings
            .extend(settings.as_object().unwrap().clone());
        let replay = replay(&recording, &Question::default(), &|| true).unwrap();
        match replay.today.result.clone() {
            Result::Figures(figures) => (replay, figures),
            Result::Problem { problem } => panic!("{problem}"),
        }
    };
    regions.iter().map(play).collect()
}

/// A machine costs until its row is gone, which is a second or two after it was terminated, and the replay
/// counts until then: of machines that live for a minute, that is what is missing.
#[test]
fn recorded_day_of_the_demonstration_is_played_as_it_was() {
    for (replay, today) in played(&Value::Object(Map::new())) {
        let recorded = &replay.recorded;
        assert_eq!(today.users, recorded.users);
        let off = replay.machine_hours_off;
        assert!((-0.06..0.01).contains(&off), "{}: {off}", replay.region);
        let waited = today.not_at_once.abs_diff(recorded.not_at_once);
        assert!(waited <= 4, "{recorded:?} {today:?}");
        let launches = today.launches_per_day / recorded.launches_per_day;
        assert!((0.9..1.1).contains(&launches), "{recorded:?} {today:?}");
        let longest = today.wait_longest.unwrap() - recorded.wait_longest.unwrap();
        assert!(longest.abs() < 1.0, "{recorded:?} {today:?}");
    }
}

/// Drains are found later, so that machines live longer.
#[test]
fn day_with_a_pass_a_minute_is_another_one() {
    for (replay, today) in played(&json!({"pass_seconds": 60})) {
        assert!(replay.machine_hours_off > 0.04, "{today:?}");
        let launches = today.launches_per_day / replay.recorded.launches_per_day;
        assert!(launches < 0.85, "{:?} {today:?}", replay.recorded);
    }
}
