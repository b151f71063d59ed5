//! Instances that fail their users.

use shared::model::{DrainCause, Instance, SessionEnds, SpotNotice};
use shared::scaling::{Action, Plan, Reason, Snapshot, Violation, algorithm};
use testing::{NOW, instance, snapshot};

use crate::support::{assert_plan, draining, occupied, violations};

/// An instance on which the sessions of so many users in a row ended quickly.
fn quick(id: &str, users: u32) -> Instance {
    Instance {
        sessions: SessionEnds {
            quick: users,
            ..SessionEnds::default()
        },
        ..instance(id)
    }
}

/// An instance to which so many users in a row could not connect.
fn unclaimed(id: &str, users: u32) -> Instance {
    Instance {
        sessions: SessionEnds {
            unclaimed: users,
            ..SessionEnds::default()
        },
        ..instance(id)
    }
}

/// An instance whose sessions last.
fn live(id: &str) -> Instance {
    Instance {
        sessions: SessionEnds {
            live: true,
            ..SessionEnds::default()
        },
        ..occupied(id, 1)
    }
}

/// An instance that drains because it failed its users.
fn leaving(id: &str) -> Instance {
    Instance {
        drain_cause: Some(DrainCause::Suspect),
        ..draining(id, 30)
    }
}

fn decide(snapshot: &Snapshot) -> Plan {
    let plan = algorithm("default").unwrap().decide(snapshot, NOW);
    assert_eq!(violations(snapshot, &plan, NOW), []);
    plan
}

/// The ids of the suspects that a plan drains.
fn drained(plan: &Plan) -> Vec<&str> {
    let steps = plan.steps.iter();
    let suspects = steps.filter_map(|step| match &step.action {
        Action::Drain {
            instance,
            cause: DrainCause::Suspect,
        } => Some(instance.as_str()),
        _ => None,
    });
    suspects.collect()
}

fn alerts(plan: &Plan) -> Vec<&Reason> {
    let notes = plan.notes.iter().filter(|note| note.alert);
    notes.map(|note| &note.reason).collect()
}

#[test]
fn instance_that_ends_every_session_is_drained_with_its_users_and_replaced() {
    let suspect = Instance {
        slots: occupied("i-2", 1).slots,
        ..quick("i-2", 3)
    };
    let snapshot = snapshot([live("i-1"), suspect, instance("i-3")]);
    assert_plan(
        &snapshot,
        "target 4, free 3, starting 0, waiting 0, occupied 2, live 3 of 10
        - drain i-2: the sessions of 3 users in a row ended within 10 s (quick_end_seconds), and those on other instances did not; 1 user on it
        - launch from ami-1: 1 x c5.large in subnet-a, or 1 x c5.large in subnet-b: free 3 and starting 0 are below target 4 + waiting 0
        ! i-2: the sessions of 3 users in a row ended within 10 s (quick_end_seconds), and those on other instances did not; 1 user on it",
    );
}

#[test]
fn two_quick_ends_are_no_reason() {
    let plan = decide(&snapshot([
        live("i-1"),
        quick("i-2", 2),
        unclaimed("i-3", 2),
    ]));
    assert!(drained(&plan).is_empty() && alerts(&plan).is_empty());
}

#[test]
fn instance_that_lets_nobody_connect_is_drained_unless_a_session_lives_on_it() {
    let plan = decide(&snapshot([live("i-1"), unclaimed("i-2", 3)]));
    assert_eq!(drained(&plan), ["i-2"]);
    let acquitted = Instance {
        sessions: SessionEnds {
            unclaimed: 9,
            ..live("i-2").sessions
        },
        ..live("i-2")
    };
    let plan = decide(&snapshot([live("i-1"), acquitted]));
    assert!(drained(&plan).is_empty() && alerts(&plan).is_empty());
}

#[test]
fn full_disk_is_found_although_older_sessions_run_on() {
    let full = Instance {
        sessions: SessionEnds {
            quick: 4,
            ..live("i-2").sessions
        },
        ..live("i-2")
    };
    assert_eq!(drained(&decide(&snapshot([live("i-1"), full]))), ["i-2"]);
}

#[test]
fn one_suspect_is_drained_in_a_pass_the_worst_first() {
    let instances = [live("i-1"), live("i-2"), quick("i-3", 3), quick("i-4", 7)];
    assert_eq!(drained(&decide(&snapshot(instances))), ["i-4"]);
}

#[test]
fn sessions_that_end_quickly_everywhere_make_one_alert_and_drain_nothing() {
    let cases = [
        // Most of those with sessions fail, or nothing is known about the others.
        vec![live("i-1"), quick("i-2", 3), quick("i-3", 3)],
        vec![instance("i-1"), instance("i-2"), quick("i-3", 3)],
        vec![quick("i-1", 3), unclaimed("i-2", 5)],
    ];
    for instances in cases {
        let plan = decide(&snapshot(instances));
        assert_eq!(drained(&plan), [""; 0]);
        let [Reason::SessionsEndQuicklyEverywhere { .. }] = alerts(&plan)[..] else {
            panic!("{plan}");
        };
    }
}

#[test]
fn last_instance_that_serves_is_kept() {
    let other_image = Instance {
        image_id: "ami-2".into(),
        ..live("i-1")
    };
    let mut snapshot = snapshot([other_image, quick("i-2", 5)]);
    let old = testing::image("ami-2", shared::model::ImageState::Baking);
    snapshot.images.push(old);
    let plan = decide(&snapshot);
    assert!(drained(&plan).is_empty());
    let kept = Reason::SuspectKept {
        users: 5,
        draining: 0,
    };
    assert_eq!(alerts(&plan), [&kept]);
}

#[test]
fn few_suspects_drain_at_the_same_time() {
    let mut instances = vec![live("i-1"), live("i-2"), quick("i-3", 3)];
    instances.extend(["i-4", "i-5"].map(leaving));
    assert_eq!(drained(&decide(&snapshot(instances.clone()))), ["i-3"]);
    instances.push(leaving("i-6"));
    let plan = decide(&snapshot(instances));
    assert!(drained(&plan).is_empty());
    let kept = Reason::SuspectKept {
        users: 3,
        draining: 3,
    };
    assert!(alerts(&plan).contains(&&kept));
}

#[test]
fn suspect_that_leaves_anyway_is_not_drained_again() {
    let noticed = Instance {
        notice: Some(SpotNotice::Interruption),
        ..quick("i-2", 3)
    };
    assert!(drained(&decide(&snapshot([live("i-1"), noticed]))).is_empty());
}

#[test]
fn plan_that_drains_two_suspects_or_the_last_instance_is_rejected() {
    let snapshot = snapshot([live("i-1"), quick("i-2", 3)]);
    let mut plan = decide(&snapshot);
    let step = plan.steps.first().unwrap().clone();
    let mut another = step.clone();
    another.action = Action::Drain {
        instance: "i-1".into(),
        cause: DrainCause::Suspect,
    };
    plan.steps.push(another);
    let rejected = Violation::DrainsTooManySuspects("i-1".into());
    assert!(violations(&snapshot, &plan, NOW).contains(&rejected));
    let alone = testing::snapshot([quick("i-2", 3)]);
    plan.steps = vec![step];
    let rejected = Violation::DrainsTooManySuspects("i-2".into());
    assert_eq!(violations(&alone, &plan, NOW), [rejected]);
}
