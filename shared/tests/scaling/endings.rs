//! Golden plans of sessions and instances that end at a limit.

use jiff::SignedDuration;
use shared::model::{DrainCause, EndCounts, ImageState, Instance, TerminateIf};
use shared::scaling::{Action, Plan, Reason, Snapshot, Step};
use testing::{NOW, at, image, instance, snapshot};

use crate::support::{assert_plan, draining, occupied, violations};

fn ends(instance: Instance, due: u32, overdue: u32) -> Instance {
    let dying = 0;
    Instance {
        ends: EndCounts {
            due,
            overdue,
            dying,
        },
        ..instance
    }
}

/// Two free instances, which are the buffer, and others.
fn with_buffer(others: impl IntoIterator<Item = Instance>) -> Snapshot {
    snapshot([instance("i-8"), instance("i-9")].into_iter().chain(others))
}

fn drained_by(id: &str, cause: DrainCause, overdue: u32) -> Instance {
    let drained = Instance {
        drain_cause: Some(cause),
        slots: occupied(id, 2).slots,
        ..draining(id, 900)
    };
    ends(drained, 0, overdue)
}

/// Of an age in seconds.
fn aged(instance: Instance, seconds: i64) -> Instance {
    Instance {
        launched_at: at(-seconds),
        active_at: Some(at(-seconds)),
        ..instance
    }
}

#[test]
fn agents_are_told_of_ends_and_those_that_do_not_end_sessions_are_in_one_alert() {
    let others = [
        ends(occupied("i-1", 2), 1, 0),
        ends(occupied("i-2", 2), 2, 0),
        ends(occupied("i-3", 2), 0, 1),
        ends(occupied("i-4", 2), 0, 2),
    ];
    assert_plan(
        &with_buffer(others),
        "target 4, free 4, starting 0, waiting 0, occupied 8, live 6 of 10
        - tell agents of 3 ends: a limit of the session or a drain's deadline comes
        ! sessions that agents have not ended in time: 3, on 2 instances, i-3 among them. Are the agents of a version that ends sessions?
        · free 4 and starting 0 meet the target of 4",
    );
}

#[test]
fn instance_is_terminated_past_the_deadline_of_its_drain_if_every_user_was_warned() {
    let mut snapshot = with_buffer([
        drained_by("i-1", DrainCause::Operator, 2),
        drained_by("i-2", DrainCause::Operator, 1),
        drained_by("i-3", DrainCause::Agent, 2),
    ]);
    snapshot.settings.endings.drain_deadline = Some(SignedDuration::from_secs(810));
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 0, waiting 0, occupied 6, live 5 of 10
        - terminate i-1: draining for 900 s (drain_deadline_seconds), and its agent has not ended its sessions: terminated with 2 users
        ! i-1: draining for 900 s (drain_deadline_seconds), and its agent has not ended its sessions: terminated with 2 users
        ! i-2: draining for 900 s, kept because of 2 users
        ! i-3: draining for 900 s, kept because of 2 users
        ! sessions that agents have not ended in time: 3, on 2 instances, i-2 among them. Are the agents of a version that ends sessions?
        · free 4 and starting 0 meet the target of 4",
    );
    // heartbeat_seconds are not over.
    snapshot.settings.endings.drain_deadline = Some(SignedDuration::from_secs(811));
    let plan = shared::scaling::decide(&snapshot, NOW).unwrap();
    assert!(plan.is_empty(), "{plan}");
    snapshot.settings.endings.drain_deadline = None;
    let plan = shared::scaling::decide(&snapshot, NOW).unwrap();
    assert!(plan.is_empty(), "{plan}");
    for id in ["i-1", "i-2", "i-3"] {
        let plan = Plan {
            steps: vec![Step {
                action: Action::Terminate {
                    instance: id.into(),
                    condition: TerminateIf::Deadline,
                    ask_ec2: true,
                },
                reason: Reason::DrainDeadline {
                    seconds: 900,
                    occupied: 2,
                },
            }],
            ..Plan::default()
        };
        assert_eq!(violations(&snapshot, &plan, NOW).len(), 1, "{id}");
    }
}

#[test]
fn retired_image_is_drained_with_its_users_where_a_deadline_ends_their_sessions() {
    let old = Instance {
        image_id: "ami-0".into(),
        ..occupied("i-1", 1)
    };
    let mut snapshot = with_buffer([old]);
    snapshot.images.push(image("ami-0", ImageState::Retired));
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 0, waiting 0, occupied 1, live 3 of 10
        · free 4 and starting 0 meet the target of 4
        · i-1: kept: 1 user on an image that is no longer served",
    );
    snapshot.settings.endings.drain_deadline = Some(SignedDuration::from_secs(600));
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 0, waiting 0, occupied 1, live 3 of 10
        - drain i-1: image ami-0 is no longer served
        · free 4 and starting 0 meet the target of 4",
    );
}

#[test]
fn old_instance_is_drained_with_its_users_once_it_is_replaced() {
    let mut snapshot = with_buffer([aged(occupied("i-1", 1), 7200)]);
    snapshot.settings.endings.max_age = Some(SignedDuration::from_secs(7200));
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 0, waiting 0, occupied 1, live 3 of 10
        - drain i-1: 7200 s old (max_age_seconds), and replaced; 1 user on it
        · free 4 and starting 0 meet the target of 4",
    );
    snapshot.settings.target_free = 6;
    assert_plan(
        &snapshot,
        "target 6, free 4, starting 0, waiting 0, occupied 1, live 3 of 10
        - launch from ami-1: 1 x c5.large in subnet-a, or 1 x c5.large in subnet-b: free 4 and starting 0 are below target 6 + waiting 0
        · i-1: too old (max_age_seconds): kept until it is replaced, not counted as free; 1 user on it",
    );
}

#[test]
fn old_instances_are_replaced_a_few_at_a_time_and_the_oldest_first() {
    let old = (0..8).map(|n| aged(occupied(&format!("i-{n}"), 2), 8000 + n));
    let mut snapshot = snapshot(old);
    snapshot.settings.target_free = 0;
    snapshot.settings.endings.max_age = Some(SignedDuration::from_secs(7200));
    assert_plan(
        &snapshot,
        "target 0, free 0, starting 0, waiting 0, occupied 16, live 8 of 10
        - drain i-5: 8005 s old (max_age_seconds), and replaced; 2 users on it
        - drain i-6: 8006 s old (max_age_seconds), and replaced; 2 users on it
        - drain i-7: 8007 s old (max_age_seconds), and replaced; 2 users on it
        · free 0 and starting 0 meet the target of 0",
    );
    // One of three is still there.
    let leaving = Instance {
        drain_cause: Some(DrainCause::MaxAge),
        slots: occupied("i-8", 2).slots,
        ..draining("i-8", 9)
    };
    snapshot
        .machines
        .insert("i-8".into(), testing::machine(&leaving));
    snapshot.instances.insert("i-8".into(), leaving);
    let plan = shared::scaling::decide(&snapshot, NOW).unwrap();
    assert_eq!(plan.steps.len(), 2, "{plan}");
}

#[test]
fn at_the_maximum_one_empty_old_instance_makes_room_for_its_replacement() {
    let old = [
        aged(instance("i-1"), 9000),
        aged(instance("i-2"), 8000),
        aged(occupied("i-3", 1), 9500),
    ];
    let mut snapshot = snapshot(old);
    snapshot.settings.max_instances = 3;
    snapshot.settings.endings.max_age = Some(SignedDuration::from_secs(7200));
    let plan = shared::scaling::decide(&snapshot, NOW).unwrap();
    let drained = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Drain { instance, .. } => Some(instance.as_str()),
        _ => None,
    });
    assert_eq!(drained.collect::<Vec<_>>(), ["i-1"], "{plan}");
}
