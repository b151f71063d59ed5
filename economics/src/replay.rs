//! What another setting would have cost: a region's recorded arrivals, sessions and boots, played with
//! today's settings and with proposed ones.
//!
//! The replay with today's settings says what the others are worth: how far it is from what happened.
//! It does not know how EC2's capacity was, and plays no upgrades.

mod reading;

use std::borrow::Cow;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use shared::clock::Clock;
use shared::recording::{RecordedSession, Recording};
use shared::settings::{BadSetting, Columns, REPLICA, RegionSettings, TABLE, overlay};
use shared::words::quoted;
use thiserror::Error;

use crate::chart::{self, Dot};
use crate::clairvoyant::{Foresight, foresee};
use crate::frontier::Goal;
use crate::outcome::{Outcome, quantile_of};
use crate::run::{Conditions, RunError, run_region};
use crate::workload::Workload;
use crate::{Millis, seconds};

pub use self::reading::WARM_UP;
use self::reading::{conditions, playable, slots, workload};

/// Multiples of today's `target_free`, in eighths, for the frontier.
const EIGHTHS: [u32; 7] = [1, 2, 4, 6, 12, 16, 24];

#[derive(Debug, Error)]
pub enum ReplayError {
    #[error("{0}: a region has no such setting, see docs/settings.md")]
    UnknownSetting(String),
    #[error("{}: {}", .0.column, .0.problem)]
    BadSetting(BadSetting),
    #[error("replicas have no slots and no users that could be played again")]
    Replicas,
    #[error("launch_choices: no choice says how many slots an instance has")]
    NoChoice,
    #[error("{0}")]
    Run(#[from] RunError),
    #[error("the replay was interrupted by an error in it: {0}")]
    Interrupted(String),
}

/// What somebody asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question {
    /// Each is laid over today's row.
    pub proposals: Vec<Columns>,
    /// Play other values of `target_free`, too.
    pub frontier: bool,
}

/// In hours: figures of machine time are read for a month at most.
const LONGEST: i64 = 31 * 24;

/// `7d` or `36h`: from one hour to 31 days.
pub fn parse_since(text: &str) -> Option<SignedDuration> {
    let (digits, hours) = match text.strip_suffix('d') {
        Some(days) => (days, 24),
        None => (text.strip_suffix('h')?, 1),
    };
    let hours = digits
        .parse::<u16>()
        .ok()
        .map(|number| i64::from(number) * hours)?;
    (1..=LONGEST)
        .contains(&hours)
        .then(|| SignedDuration::from_hours(hours))
}

#[derive(Clone, Debug, Serialize)]
pub struct Replay {
    pub region: String,
    pub from: Timestamp,
    pub to: Timestamp,
    /// What happened.
    pub recorded: Figures,
    /// The same, played with the settings of now.
    pub today: Played,
    /// How much more the replay of today's settings cost than what happened: 0.05 is 5 %.
    pub machine_hours_off: f64,
    pub proposals: Vec<Played>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frontier: Vec<Played>,
    /// SVG: cost against users who waited, with today's settings and the proposed ones on the frontier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chart: Option<String>,
    /// Machine-hours of somebody who knew who comes when, and a bound below which nobody gets.
    pub clairvoyant_machine_hours: f64,
    pub lower_bound_machine_hours: f64,
}

/// One run, or why it has none.
#[derive(Clone, Debug, Serialize)]
pub struct Played {
    /// What differs from today's.
    pub settings: Columns,
    #[serde(flatten)]
    pub result: Result,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Result {
    Figures(Figures),
    Problem { problem: String },
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    pub machine_hours: f64,
    pub users: u64,
    /// Users who did not get a slot with their first request,
    pub not_at_once: u64,
    /// and who of them left without one.
    pub gave_up: u64,
    /// Of those who waited, in seconds; null if nobody did.
    pub wait_p50: Option<f64>,
    pub wait_p99: Option<f64>,
    pub wait_longest: Option<f64>,
    pub launches_per_day: f64,
}

impl Figures {
    fn of(outcome: &Outcome) -> Self {
        Self {
            machine_hours: outcome.machine_hours(),
            users: outcome.users,
            not_at_once: outcome.not_at_once,
            gave_up: outcome.gave_up,
            wait_p50: outcome.wait(0.5),
            wait_p99: outcome.wait(0.99),
            wait_longest: outcome.wait(1.0),
            launches_per_day: outcome.launches_a_day(),
        }
    }

    fn recorded(recording: &Recording) -> Self {
        let within = |session: &&RecordedSession| {
            (recording.from..recording.to).contains(&session.requested_at)
        };
        let waits = recording.sessions.iter().filter(within).map(|session| {
            reading::millis_of(session.assigned_at.duration_since(session.requested_at))
        });
        let mut waits: Vec<Millis> = waits.collect();
        let gave_up = recording.unserved.len() as u64;
        let users = waits.len() as u64 + gave_up;
        waits.retain(|wait| *wait > 0);
        let stays = recording.unserved.iter();
        waits.extend(stays.map(|visit| reading::millis_of(visit.stayed)));
        waits.sort_unstable();
        let wait = |quantile| quantile_of(&waits, quantile).map(seconds);
        let launched = f64::from(recording.registered) + f64::from(recording.never_registered);
        let days = recording.to.duration_since(recording.from).as_secs_f64() / 86_400.0;
        Self {
            machine_hours: recording.machine_seconds / 3600.0,
            users,
            not_at_once: waits.len() as u64,
            gave_up,
            wait_p50: wait(0.5),
            wait_p99: wait(0.99),
            wait_longest: wait(1.0),
            launches_per_day: launched / days.max(f64::MIN_POSITIVE),
        }
    }
}

/// [`replay`] until a time, for functions: on a thread of its own, because a run takes seconds, has its own
/// clock and timers, and must not take the process with it.
///
/// # Errors
/// When today's settings cannot be played.
pub async fn replay_until(
    recording: Recording,
    question: Question,
    clock: Arc<dyn Clock>,
    until: Timestamp,
) -> std::result::Result<Replay, ReplayError> {
    let played =
        tokio::task::spawn_blocking(move || replay(&recording, &question, &|| clock.now() < until));
    let played = played.await;
    played.map_err(|error| ReplayError::Interrupted(error.to_string()))?
}

/// Plays the recording with today's settings and with each proposal, as long as `may_go_on` says so:
/// what was not played says that.
///
/// # Errors
/// When today's settings cannot be played.
pub fn replay(
    recording: &Recording,
    question: &Question,
    may_go_on: &dyn Fn() -> bool,
) -> std::result::Result<Replay, ReplayError> {
    let row = row(&recording.settings)?;
    let target = row.target_free;
    let workload = workload(recording, &row, slots(&row)?);
    let conditions = conditions(recording);
    let today = run_region(&workload, playable(row), &conditions, may_go_on)?;
    let Foresight {
        clairvoyant,
        lower_bound,
    } = foresee(&workload);
    let play = |settings: &Columns| Played {
        settings: settings.clone(),
        result: match propose(recording, &workload, settings, &conditions, may_go_on) {
            Ok(figures) => Result::Figures(figures),
            Err(error) => Result::Problem {
                problem: match error {
                    ReplayError::Run(RunError::Stopped) => {
                        "not played: the time of this invocation is over. Ask for a shorter time \
                         or for fewer settings"
                            .to_owned()
                    }
                    other => other.to_string(),
                },
            },
        },
    };
    let recorded = Figures::recorded(recording);
    let today = Figures::of(&today);
    let hours = |time| seconds(time) / 3600.0;
    let proposals: Vec<_> = question.proposals.iter().map(play).collect();
    let frontier: Vec<_> = if question.frontier {
        targets(target).map(|target| play(&target)).collect()
    } else {
        vec![]
    };
    // Without users, nothing has a cost to be compared with.
    let chart = (question.frontier && !workload.users.is_empty()).then(|| {
        let of = hours(clairvoyant);
        draw(recording, of, (target, &today), &proposals, &frontier)
    });
    Ok(Replay {
        region: recording.region.to_string(),
        from: recording.from,
        to: recording.to,
        machine_hours_off: today.machine_hours / recorded.machine_hours.max(f64::MIN_POSITIVE)
            - 1.0,
        recorded,
        today: Played {
            settings: Columns::new(),
            result: Result::Figures(today),
        },
        proposals,
        frontier,
        chart,
        clairvoyant_machine_hours: hours(clairvoyant),
        lower_bound_machine_hours: hours(lower_bound),
    })
}

/// The cost of a share of users who wait that most operators would accept, for the chart.
const GOAL: Goal = Goal { not_at_once: 0.001 };

fn draw(
    recording: &Recording,
    clairvoyant: f64,
    (target, today): (u32, &Figures),
    proposals: &[Played],
    frontier: &[Played],
) -> String {
    let dot = |figures: &Figures, label: String| Dot {
        share: figures.not_at_once as f64 / figures.users.max(1) as f64,
        cost: figures.machine_hours / clairvoyant.max(f64::MIN_POSITIVE),
        label,
    };
    let of = |played: &Played, label: String| match &played.result {
        Result::Figures(figures) => Some(dot(figures, label)),
        Result::Problem { .. } => None,
    };
    let target_of = |played: &Played| played.settings.get("target_free").and_then(Value::as_u64);
    let mut targets: Vec<_> = frontier
        .iter()
        .filter_map(|played| Some((target_of(played)?, played)))
        .filter_map(|(target, played)| Some((target, of(played, target.to_string())?)))
        .collect();
    targets.push((target.into(), dot(today, String::new())));
    targets.sort_by_key(|(target, _)| *target);
    let targets = targets.into_iter().map(|(_, dot)| dot).collect();
    let proposals = proposals.iter().enumerate();
    let proposals = proposals.filter_map(|(nth, played)| of(played, format!("#{}", nth + 1)));
    let series = [
        ("target_free", targets),
        ("today", vec![dot(today, target.to_string())]),
        ("proposed", proposals.collect()),
    ];
    chart::svg_of(recording.region.as_str(), &series, &GOAL)
}

/// Other values of `target_free`, around today's.
fn targets(today: u32) -> impl Iterator<Item = Columns> {
    let mut targets = EIGHTHS
        .map(|eighths| (today.saturating_mul(eighths) / 8).max(1))
        .to_vec();
    targets.retain(|target| *target != today);
    targets.dedup();
    targets.into_iter().map(|target| {
        let set = ("target_free".to_owned(), Value::from(target));
        Columns::from_iter([set])
    })
}

fn propose(
    recording: &Recording,
    today: &Workload,
    settings: &Columns,
    conditions: &Conditions,
    may_go_on: &dyn Fn() -> bool,
) -> std::result::Result<Figures, ReplayError> {
    let is_known = |column: &str| TABLE.iter().any(|setting| setting.column == column);
    if let Some(column) = settings.keys().find(|column| !is_known(column)) {
        return Err(ReplayError::UnknownSetting(quoted(column).to_string()));
    }
    // A null is today's value, too.
    let row = row(&overlay(recording.settings.clone(), settings))?;
    let slots = slots(&row)?;
    let workload = match slots == today.slots {
        true => Cow::Borrowed(today),
        false => Cow::Owned(Workload {
            slots,
            ..today.clone()
        }),
    };
    let outcome = run_region(&workload, playable(row), conditions, may_go_on)?;
    Ok(Figures::of(&outcome))
}

fn row(columns: &Columns) -> std::result::Result<RegionSettings, ReplayError> {
    let row = RegionSettings::from_columns(columns).map_err(ReplayError::BadSetting)?;
    if row.algorithm == REPLICA {
        return Err(ReplayError::Replicas);
    }
    match row.launch_problems.into_iter().next() {
        Some(problem) => Err(ReplayError::BadSetting(problem)),
        None => Ok(RegionSettings {
            launch_problems: vec![],
            ..row
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::recording::RecordedVisit;
    use testing::NOW;

    use super::*;
    use crate::workload::User;

    /// One arrival a minute for four hours, of sessions of ten minutes.
    fn recording() -> Recording {
        let minute = SignedDuration::from_mins(1);
        let session = |n: i32| {
            let at = NOW + minute * n;
            RecordedSession {
                requested_at: at,
                assigned_at: at,
                ended_at: Some(at + minute * 10),
            }
        };
        let columns = json!({
            "name": "us-east-1", "target_free": 4, "max_instances": 50, "algorithm": "default",
            "launch_choices": [{"instance_type": "m6i.large", "capacity": 2, "subnet_id": "subnet-0a1b2c3d"}],
        });
        Recording {
            region: "us-east-1".into(),
            settings: columns.as_object().unwrap().clone(),
            from: NOW,
            to: NOW + minute * 240,
            sessions: (-120..240).map(session).collect(),
            boots: vec![60.0],
            registered: 99,
            never_registered: 1,
            slots: 198,
            machine_seconds: 8.0 * 4.0 * 3600.0,
            unserved: vec![],
        }
    }

    fn figures(played: &Played) -> &Figures {
        match &played.result {
            Result::Figures(figures) => figures,
            Result::Problem { problem } => panic!("{problem}"),
        }
    }

    fn question(proposals: &[Value]) -> Question {
        Question {
            proposals: proposals
                .iter()
                .map(|it| it.as_object().unwrap().clone())
                .collect(),
            frontier: false,
        }
    }

    #[test]
    fn larger_buffer_costs_more_and_makes_fewer_wait() {
        let proposals = [json!({"target_free": 1}), json!({"target_free": 20})];
        let replay = replay(&recording(), &question(&proposals), &|| true).unwrap();
        assert_eq!(replay.recorded.users, 240);
        assert_eq!(replay.recorded.not_at_once, 0);
        assert_eq!(replay.recorded.machine_hours, 32.0);
        let [little, much] = &replay.proposals[..] else {
            panic!("{:?}", replay.proposals);
        };
        let (little, today, much) = (figures(little), figures(&replay.today), figures(much));
        assert_eq!((today.users, today.not_at_once), (240, 0));
        assert!(little.machine_hours < today.machine_hours, "{little:?}");
        assert!(today.machine_hours < much.machine_hours, "{much:?}");
        // Ten sessions at a time are five machines at least, and four free slots two more.
        assert!(today.machine_hours > 20.0 && today.machine_hours < 40.0);
        assert!(replay.lower_bound_machine_hours <= replay.clairvoyant_machine_hours);
        assert!(replay.clairvoyant_machine_hours <= today.machine_hours);
        let off = today.machine_hours / 32.0 - 1.0;
        assert!((replay.machine_hours_off - off).abs() < 1e-9);
    }

    #[test]
    fn proposal_that_cannot_be_played_says_why_and_the_others_are_played() {
        let proposals = [
            json!({"target_freee": 1}),
            json!({"target_free": -1}),
            json!({"algorithm": "replica"}),
            json!({"target_free": 3}),
        ];
        let replay = replay(&recording(), &question(&proposals), &|| true).unwrap();
        let problem = |nth: usize| match &replay.proposals[nth].result {
            Result::Problem { problem } => problem.clone(),
            Result::Figures(figures) => panic!("{figures:?}"),
        };
        assert!(problem(0).contains("target_freee"), "{}", problem(0));
        assert!(problem(1).contains("target_free"), "{}", problem(1));
        assert!(problem(2).contains("replicas"), "{}", problem(2));
        assert_eq!(figures(&replay.proposals[3]).users, 240);
    }

    #[test]
    fn frontier_has_other_targets_than_todays() {
        let asked = Question {
            frontier: true,
            ..Question::default()
        };
        let replay = replay(&recording(), &asked, &|| true).unwrap();
        let targets: Vec<_> = replay
            .frontier
            .iter()
            .map(|it| it.settings["target_free"].as_u64().unwrap())
            .collect();
        assert_eq!(targets, [1, 2, 3, 6, 8, 12]);
        let hours = replay.frontier.iter().map(|it| figures(it).machine_hours);
        assert!(hours.is_sorted());
        let chart = replay.chart.unwrap();
        assert!(chart.starts_with("<svg") && chart.contains(">today<"));
        assert_eq!(chart.matches("<circle").count(), 6 + 2 + 3);
    }

    #[test]
    fn replay_that_may_not_go_on_says_what_it_did_not_play() {
        let minutes = std::cell::Cell::new(0);
        // Enough for today's run of six hours, not for another one.
        let may_go_on = || {
            minutes.set(minutes.get() + 1);
            minutes.get() < 400
        };
        let asked = question(&[json!({"target_free": 3})]);
        let replay = replay(&recording(), &asked, &may_go_on).unwrap();
        let Result::Problem { problem } = &replay.proposals[0].result else {
            panic!("it was played");
        };
        assert!(problem.contains("fewer settings"), "{problem}");
    }

    #[test]
    fn who_left_is_played_and_counts_among_what_happened() {
        let mut recording = recording();
        let visit = |seconds: i64| RecordedVisit {
            requested_at: NOW + SignedDuration::from_secs(3 * 3600 + seconds),
            stayed: SignedDuration::from_secs(20 + seconds),
        };
        recording.unserved = (0..30).map(visit).collect();
        let replay = replay(&recording, &Question::default(), &|| true).unwrap();
        let (recorded, today) = (&replay.recorded, figures(&replay.today));
        assert_eq!((recorded.users, recorded.not_at_once), (270, 30));
        assert_eq!(recorded.gave_up, 30);
        assert_eq!(recorded.wait_p50, Some(34.0));
        // Four are free, and machines boot for a minute: the others ask for 35 seconds, as most who left.
        assert_eq!(today.users, 270);
        assert!((20..=27).contains(&today.gave_up), "{today:?}");
        assert_eq!(today.wait_longest.map(f64::ceil), Some(36.0));
    }

    #[test]
    fn session_from_before_is_there_from_the_beginning() {
        let hour = SignedDuration::from_hours(1);
        let mut recording = recording();
        recording.sessions = vec![RecordedSession {
            requested_at: NOW - hour * 30,
            assigned_at: NOW - hour * 30,
            ended_at: None,
        }];
        let row = row(&recording.settings).unwrap();
        let workload = workload(&recording, &row, 2);
        let all = User {
            arrives: 0,
            session: workload.until,
        };
        assert_eq!(workload.users, [all]);
    }
}
