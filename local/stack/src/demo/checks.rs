//! Checks of a finished day: that the service kept its guarantees, and that every planned event
//! happened.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::interruption::Interruption;
use super::sessions::Session;
use super::summary::Summary;
use super::text::count;
use super::users::Assignment;

/// One of this many responses may be an error, because the machine may be busy and users repeat
/// their requests.
const RESPONSES_PER_ERROR: usize = 20;

/// The longest real time in line. A VM takes some six seconds from the refusal to the slot, and its
/// user asks again some seconds later. In a rush, the slots of the first VMs are for others.
const LONGEST_WAIT: Duration = Duration::from_secs(25);

/// Of this many users who wait, at least one is told an estimate.
const WAITS_PER_ESTIMATE: usize = 20;

/// The guarantees of the service that were broken on this day, as sentences.
pub(super) fn violations(
    assignments: &[Assignment],
    sessions: &[Session],
    interruption: Option<&Interruption>,
) -> Vec<String> {
    let mut violations = Vec::new();
    let known: BTreeMap<_, _> = sessions
        .iter()
        .map(|session| ((session.slot.as_str(), session.user.as_str()), session))
        .collect();
    let mut slots = BTreeSet::new();
    for Assignment {
        slot,
        user,
        client_sha,
        wait,
        stored_wait,
        ..
    } in assignments
    {
        if !slots.insert(slot) {
            violations.push(format!("slot {slot} was given to two users"));
        }
        match known.get(&(slot.as_str(), user.as_str())) {
            None => violations.push(format!(
                "user {user} got slot {slot}, but the database does not record it"
            )),
            Some(session) if session.client_sha != *client_sha => {
                violations.push(format!(
                    "user {user} got slot {slot} on an instance for another client"
                ));
            }
            Some(session) => {
                let stored = session.waited;
                if stored_wait.is_some_and(|(least, most)| stored < least || stored > most) {
                    violations.push(format!(
                        "user {user} is recorded to have waited {stored:.1?}, which is not what they saw"
                    ));
                }
            }
        }
        if let Some(wait) = wait.filter(|wait| wait.time > LONGEST_WAIT) {
            violations.push(format!(
                "user {user} waited {:.1?}, longer than {LONGEST_WAIT:?}",
                wait.time
            ));
        }
    }
    for session in sessions {
        let interrupted = interruption.is_some_and(|it| it.instance == session.instance);
        if session.was_cut_off() && !interrupted {
            violations.push(format!(
                "user {} lost a session on {}, which EC2 did not interrupt",
                session.user, session.instance
            ));
        }
        if session.ended.as_deref() == Some("released") {
            violations.push(format!(
                "user {} lost a slot before the session began",
                session.user
            ));
        }
    }
    violations
}

/// Planned events of the day that did not happen, as sentences.
pub(super) fn missing_events(day: &Summary) -> Vec<String> {
    let mut missing = Vec::new();
    if day.gave_up > 0 {
        missing.push(format!(
            "{} left without a slot",
            count(day.gave_up, "user")
        ));
    }
    if day.failures.len() > day.served / RESPONSES_PER_ERROR {
        missing.push(format!(
            "{} had an error, more than one in {RESPONSES_PER_ERROR}; the first: {}",
            count(day.failures.len(), "response"),
            day.failures[0]
        ));
    }
    let estimates = day.waits.iter().filter_map(|wait| wait.estimate).count();
    if estimates < day.waits.len() / WAITS_PER_ESTIMATE {
        missing.push(format!(
            "{} had to wait, and only {estimates} of them were told how long",
            count(day.waits.len(), "user")
        ));
    }
    match &day.interruption {
        None => missing.push("no instance with users was interrupted".to_owned()),
        Some(it) if !it.drained || !it.gone => {
            missing.push(format!(
                "instance {} was not drained before EC2 terminated it, or not removed afterwards",
                it.instance
            ));
        }
        Some(_) => {}
    }
    if let Some(step) = day.rollout.first_missing_step() {
        missing.push(step.to_owned());
    } else if day.served_new == 0 {
        missing.push("no user got a slot with the new client".to_owned());
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::bill::Bill;
    use crate::demo::clock::{DayTime, Pace};
    use crate::demo::history::DayHistory;
    use crate::demo::rollout::Rollout;
    use crate::demo::users::Wait;
    use crate::seed::CLIENT_SHA;
    use crate::upgrade::NEXT_CLIENT_SHA;

    fn assignment(slot: &str, user: &str) -> Assignment {
        Assignment {
            slot: slot.to_owned(),
            user: user.to_owned(),
            region: "us-east-1",
            client_sha: CLIENT_SHA,
            wait: None,
            stored_wait: Some((Duration::ZERO, Duration::ZERO)),
        }
    }

    fn session(slot: &str, user: &str, ended: Option<&str>) -> Session {
        Session {
            slot: slot.to_owned(),
            user: user.to_owned(),
            instance: "i-1".to_owned(),
            client_sha: CLIENT_SHA.to_owned(),
            waited: Duration::ZERO,
            ended: ended.map(str::to_owned),
        }
    }

    fn interruption_of(instance: &str) -> Interruption {
        Interruption {
            instance: instance.to_owned(),
            users: 1,
            drained: true,
            gone: true,
            cut_off: 1,
        }
    }

    type Change = fn(&mut Summary);

    fn good_day() -> Summary {
        let time = Some(DayTime::at(18, 0));
        Summary {
            arrived: 20,
            served: 20,
            waits: Vec::new(),
            gave_up: 0,
            // One error in twenty is tolerated.
            failures: vec!["503".to_owned()],
            served_new: 3,
            updated: 1,
            sessions_over: 9,
            sessions_running: 1,
            sessions_cut_off: 0,
            launched: 5,
            ended: 2,
            interruption: Some(interruption_of("i-1")),
            history: DayHistory::default(),
            bill: Bill::default(),
            rollout: Rollout {
                requested: time,
                warm: time,
                published: time,
                swapped: time,
                retired: time,
                gone: time,
            },
            problems: Vec::new(),
            pace: Pace::from_minutes(6),
        }
    }

    #[test]
    fn recorded_assignments_are_not_violations() {
        let sessions = [session("a", "ann", Some("over")), session("b", "bob", None)];
        let assignments = [assignment("a", "ann"), assignment("b", "bob")];
        assert_eq!(
            violations(&assignments, &sessions, None),
            Vec::<String>::new()
        );
    }

    #[test]
    fn each_violation_is_reported() {
        let ann = session("a", "ann", None);
        let other = Session {
            client_sha: NEXT_CLIENT_SHA.to_owned(),
            ..ann.clone()
        };
        let waited = |seconds, stored_wait| Assignment {
            wait: Some(Wait {
                time: Duration::from_secs(seconds),
                estimate: None,
            }),
            stored_wait,
            ..assignment("a", "ann")
        };
        let longer = Some((Duration::from_secs(4), Duration::from_secs(6)));
        let cases = [
            (
                vec![assignment("a", "ann"), assignment("a", "ann")],
                vec![ann.clone()],
                "two users",
            ),
            (
                vec![assignment("b", "ann")],
                vec![ann.clone()],
                "does not record it",
            ),
            (
                vec![assignment("a", "bob")],
                vec![ann.clone()],
                "does not record it",
            ),
            (vec![assignment("a", "ann")], vec![other], "another client"),
            (vec![waited(26, None)], vec![ann.clone()], "longer than 25s"),
            (
                vec![waited(5, longer)],
                vec![ann],
                "recorded to have waited 0.0ns",
            ),
            (
                vec![],
                vec![session("a", "ann", Some("cut off"))],
                "lost a session",
            ),
            (
                vec![],
                vec![session("a", "ann", Some("released"))],
                "lost a slot",
            ),
        ];
        for (assignments, sessions, expected) in cases {
            let violations = violations(&assignments, &sessions, Some(&interruption_of("i-2")));
            assert_eq!(violations.len(), 1, "{violations:?}");
            assert!(violations[0].contains(expected), "{violations:?}");
        }
    }

    #[test]
    fn session_cut_off_by_the_interruption_is_not_a_violation() {
        let sessions = [session("a", "ann", Some("cut off"))];
        assert_eq!(
            violations(&[], &sessions, Some(&interruption_of("i-1"))),
            Vec::<String>::new()
        );
    }

    #[test]
    fn each_missing_event_is_reported() {
        assert_eq!(missing_events(&good_day()), Vec::<String>::new());
        let changes: [(Change, &str); 8] = [
            (|day| day.gave_up = 1, "1 user left"),
            (|day| day.interruption = None, "interrupted"),
            (
                |day| {
                    let drained = false;
                    day.interruption = Some(Interruption {
                        drained,
                        ..interruption_of("i-1")
                    });
                },
                "drained",
            ),
            (|day| day.rollout.swapped = None, "never swapped in"),
            (|day| day.rollout.gone = None, "never removed"),
            (|day| day.served_new = 0, "new client"),
            (
                |day| {
                    let wait = Wait {
                        time: Duration::from_secs(5),
                        estimate: None,
                    };
                    day.waits = vec![wait; 20];
                },
                "20 users had to wait, and only 0",
            ),
            (
                |day| day.failures = vec!["503".to_owned(); 2],
                "2 responses had an error",
            ),
        ];
        for (change, expected) in changes {
            let mut day = good_day();
            change(&mut day);
            let missing = missing_events(&day);
            assert_eq!(missing.len(), 1, "{missing:?}");
            assert!(missing[0].contains(expected), "{missing:?}");
        }
    }
}
