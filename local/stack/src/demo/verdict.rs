//! Whether a day went as it should.

use std::collections::{BTreeMap, BTreeSet};

use super::story::Interruption;
use super::summary::Summary;
use super::tell::count;
use super::users::Told;
use super::witness::Session;

/// One answer in so many may be an error of the service, on a busy machine: users ask again.
const FAILED_ANSWERS: usize = 20;

/// What the service promises, and did not keep on this day.
pub(super) fn broken_promises(
    told: &[Told],
    sessions: &[Session],
    interruption: Option<&Interruption>,
) -> Vec<String> {
    let mut broken = Vec::new();
    let known: BTreeMap<_, _> = sessions
        .iter()
        .map(|session| ((session.slot.as_str(), session.user.as_str()), session))
        .collect();
    let mut slots = BTreeSet::new();
    for Told {
        slot,
        user,
        client_sha,
        ..
    } in told
    {
        if !slots.insert(slot) {
            broken.push(format!("the place {slot} was given to two users"));
        }
        match known.get(&(slot.as_str(), user.as_str())) {
            None => broken.push(format!(
                "{user} was told of a place that is not held: {slot}"
            )),
            Some(session) if session.client_sha != *client_sha => {
                broken.push(format!("{user} is on a machine for another client"));
            }
            Some(_) => {}
        }
    }
    for session in sessions {
        let taken = interruption.is_some_and(|it| it.instance == session.instance);
        if session.was_cut_off() && !taken {
            broken.push(format!(
                "{} lost a session on {}",
                session.user, session.instance
            ));
        }
        if session.ended.as_deref() == Some("released") {
            broken.push(format!(
                "{} lost a place before the session began",
                session.user
            ));
        }
    }
    broken
}

/// Parts of the story that did not happen.
pub(super) fn missing(day: &Summary) -> Vec<String> {
    let mut missing = Vec::new();
    if day.gave_up > 0 {
        missing.push(format!(
            "{} went away without a place",
            count(day.gave_up, "user")
        ));
    }
    if day.failures.len() > day.served / FAILED_ANSWERS {
        missing.push(format!(
            "{} were errors: {}",
            count(day.failures.len(), "answer"),
            day.failures[0]
        ));
    }
    match &day.interruption {
        None => missing.push("no machine with users on it was interrupted".to_owned()),
        Some(it) if !it.drained || !it.gone => {
            missing.push(format!(
                "{} was not drained before EC2 took it",
                it.instance
            ));
        }
        Some(_) => {}
    }
    if let Some(step) = day.rollout.missing() {
        missing.push(format!("the new image was never {step}"));
    } else if day.served_new == 0 {
        missing.push("nobody came with the new client".to_owned());
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::clock::{DayTime, Pace};
    use crate::demo::rollout::Rollout;
    use crate::seed::CLIENT_SHA;
    use crate::upgrade::NEXT_CLIENT_SHA;

    fn told(slot: &str, user: &str) -> Told {
        Told {
            slot: slot.to_owned(),
            user: user.to_owned(),
            client_sha: CLIENT_SHA,
            waited: None,
        }
    }

    fn session(slot: &str, user: &str, ended: Option<&str>) -> Session {
        Session {
            slot: slot.to_owned(),
            user: user.to_owned(),
            instance: "i-1".to_owned(),
            client_sha: CLIENT_SHA.to_owned(),
            ended: ended.map(str::to_owned),
        }
    }

    fn taken(instance: &str) -> Interruption {
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
            came: 20,
            served: 20,
            waits: Vec::new(),
            gave_up: 0,
            // The service may be busy now and then: who asks again is served.
            failures: vec!["503".to_owned()],
            served_new: 3,
            updated: 1,
            sessions_over: 9,
            sessions_on: 1,
            sessions_cut_off: 0,
            launched: 5,
            ended: 2,
            interruption: Some(taken("i-1")),
            rollout: Rollout {
                ordered: time,
                warm: time,
                published: time,
                swapped: time,
                retired: time,
                gone: time,
            },
            wrong: Vec::new(),
            pace: Pace::of_minutes(6),
        }
    }

    #[test]
    fn whoever_has_the_place_that_he_was_told_has_nothing_to_complain_of() {
        let sessions = [session("a", "ann", Some("over")), session("b", "bob", None)];
        let told = [told("a", "ann"), told("b", "bob")];
        assert_eq!(
            broken_promises(&told, &sessions, None),
            Vec::<String>::new()
        );
    }

    #[test]
    fn each_broken_promise_is_named() {
        let ann = session("a", "ann", None);
        let other = Session {
            client_sha: NEXT_CLIENT_SHA.to_owned(),
            ..ann.clone()
        };
        let cases = [
            (
                vec![told("a", "ann"), told("a", "ann")],
                vec![ann.clone()],
                "two users",
            ),
            (vec![told("b", "ann")], vec![ann.clone()], "not held"),
            (vec![told("a", "bob")], vec![ann], "not held"),
            (vec![told("a", "ann")], vec![other], "another client"),
            (
                vec![],
                vec![session("a", "ann", Some("cut off"))],
                "lost a session",
            ),
            (
                vec![],
                vec![session("a", "ann", Some("released"))],
                "lost a place",
            ),
        ];
        for (told, sessions, named) in cases {
            let broken = broken_promises(&told, &sessions, Some(&taken("i-2")));
            assert_eq!(broken.len(), 1, "{broken:?}");
            assert!(broken[0].contains(named), "{broken:?}");
        }
    }

    #[test]
    fn a_session_on_the_machine_that_ec2_took_may_be_cut_off() {
        let sessions = [session("a", "ann", Some("cut off"))];
        assert_eq!(
            broken_promises(&[], &sessions, Some(&taken("i-1"))),
            Vec::<String>::new()
        );
    }

    #[test]
    fn each_part_of_the_story_that_did_not_happen_is_named() {
        assert_eq!(missing(&good_day()), Vec::<String>::new());
        let changes: [(Change, &str); 7] = [
            (|day| day.gave_up = 1, "1 user went away"),
            (|day| day.interruption = None, "interrupted"),
            (
                |day| {
                    let drained = false;
                    day.interruption = Some(Interruption {
                        drained,
                        ..taken("i-1")
                    });
                },
                "drained",
            ),
            (|day| day.rollout.swapped = None, "never swapped in"),
            (|day| day.rollout.gone = None, "never alone on machines"),
            (|day| day.served_new = 0, "new client"),
            (
                |day| day.failures = vec!["503".to_owned(); 2],
                "2 answers were errors",
            ),
        ];
        for (change, named) in changes {
            let mut day = good_day();
            change(&mut day);
            let missing = missing(&day);
            assert_eq!(missing.len(), 1, "{missing:?}");
            assert!(missing[0].contains(named), "{missing:?}");
        }
    }
}
