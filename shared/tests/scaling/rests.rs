//! Golden plans of launches that do not live: which pool rests, for which image, and for how long.

use jiff::SignedDuration;
use shared::model::{
    DrainCause, Instance, InstanceStatus, Machine, MachineState, SlotCounts, SpotNotice,
    StateReason,
};
use shared::scaling::{Action, Plan, Reason, Snapshot, algorithm, decide};
use testing::{NOW, at, instance, refusal, snapshot};

use crate::support::{assert_plan, booting};

fn plan(snapshot: &Snapshot) -> Plan {
    decide(snapshot, NOW).unwrap()
}

/// The instance's machine, ended by EC2 for a reason.
fn ended(snapshot: &mut Snapshot, id: &str, code: &str) {
    let machine = snapshot.machines.get_mut(&id.into()).unwrap();
    machine.state = MachineState::ShuttingDown;
    machine.state_reason = Some(StateReason {
        code: code.to_owned(),
        message: format!("{code}: by EC2"),
    });
}

/// The pools that the plan lets rest, each with the image that it is for.
fn rests(plan: &Plan) -> Vec<String> {
    let steps = plan.steps.iter();
    let rests = steps.filter_map(|step| match &step.action {
        Action::RestPool { refusal } => Some(refusal.key()),
        _ => None,
    });
    rests.collect()
}

#[test]
fn launch_that_died_lets_its_pool_rest_and_the_next_choice_is_used() {
    let mut snapshot = snapshot([booting("i-1", 5), instance("i-2")]);
    ended(&mut snapshot, "i-1", "Server.InternalError");
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 0, live 2 of 10
        - terminate i-1: shutting-down at EC2 while its row is PRE_CONNECTION with 0 users; EC2's reason: Server.InternalError: by EC2
        - rest c5.large in subnet-a until 2026-01-01T12:03:00Z: i-1 of c5.large in subnet-a did not live: ended by Server.InternalError: by EC2; the next launch there is after 2026-01-01T12:03:00Z
        - launch from ami-1: 1 x c5.large in subnet-b: free 2 and starting 0 are below target 4 + waiting 0
        ! i-1 of c5.large in subnet-a did not live: ended by Server.InternalError: by EC2; the next launch there is after 2026-01-01T12:03:00Z",
    );
}

/// They were launched, so the guard would keep them: but nobody loses anything.
#[test]
fn ten_deaths_of_one_launch_are_one_refusal_and_need_no_approval() {
    let ids: Vec<_> = (0..10).map(|number| format!("i-{number}")).collect();
    let mut snapshot = snapshot(ids.iter().map(|id| booting(id, 5)));
    snapshot.settings.max_instances = 30;
    for id in &ids {
        ended(&mut snapshot, id, "Client.VolumeLimitExceeded");
    }
    let plan = plan(&snapshot);
    assert_eq!(rests(&plan), ["c5.large#subnet-a#ami-1"]);
    let is_end = |action: &Action| matches!(action, Action::Terminate { .. });
    let ends = plan.steps.iter().filter(|step| is_end(&step.action));
    assert_eq!(ends.count(), 10, "{plan}");
    let alerts: Vec<_> = plan.notes.iter().filter(|note| note.alert).collect();
    assert_eq!(alerts.len(), 1, "one problem, one alert: {plan}");
    assert!(
        alerts[0]
            .to_string()
            .starts_with("10 instances of c5.large in subnet-a")
    );
}

#[test]
fn each_way_to_die_young_counts_and_none_of_those_that_lived() {
    let minutes = |minutes: i64| SignedDuration::from_mins(minutes);
    let young = || Instance {
        launched_at: NOW - minutes(5),
        active_at: Some(NOW - minutes(4)),
        ..instance("i-1")
    };
    let noticed = |row: Instance, notice| Instance {
        notice: Some(notice),
        ..row
    };
    let lost = |active: i64| Instance {
        launched_at: NOW - minutes(60),
        active_at: Some(NOW - minutes(active)),
        beat_at: Some(NOW - minutes(11)),
        ..instance("i-1")
    };
    for (name, row, expected) in [
        ("lives", young(), None),
        (
            "rebalance when young",
            noticed(young(), SpotNotice::Rebalance),
            Some("all"),
        ),
        (
            "interrupted when young",
            noticed(young(), SpotNotice::Interruption),
            Some("all"),
        ),
        (
            "interrupted when booting",
            noticed(booting("i-1", 9), SpotNotice::Interruption),
            Some("all"),
        ),
        (
            "interrupted later",
            noticed(instance("i-1"), SpotNotice::Interruption),
            None,
        ),
        ("never up", booting("i-1", 700), Some("image")),
        ("lost at once", lost(12), Some("image")),
        ("lost later", lost(30), None),
    ] {
        let plan = plan(&snapshot([row, instance("i-2")]));
        let found = rests(&plan);
        let expected: Vec<_> = expected
            .map(|whose| match whose {
                "all" => "c5.large#subnet-a".to_owned(),
                _ => "c5.large#subnet-a#ami-1".to_owned(),
            })
            .into_iter()
            .collect();
        assert_eq!(found, expected, "{name}: {plan}");
    }
    // The machine ends: young, and after it has served.
    for (active, counts) in [(Some(4), true), (Some(6), false), (None, true)] {
        let row = Instance {
            status: active.map_or(InstanceStatus::PreConnection, |_| InstanceStatus::Active),
            active_at: active.map(|active| NOW - minutes(active)),
            ..young()
        };
        let mut snapshot = snapshot([row]);
        ended(&mut snapshot, "i-1", "Server.SpotInstanceTermination");
        assert_eq!(rests(&plan(&snapshot)).len() == 1, counts, "{active:?}");
    }
}

#[test]
fn death_of_an_instance_from_before_the_refusal_is_not_counted_again() {
    let mut snapshot = snapshot([booting("i-1", 5)]);
    ended(&mut snapshot, "i-1", "Server.InternalError");
    let mut known = refusal(false, "c5.large", "subnet-a", at(170));
    known.at = at(-1);
    snapshot.refusals = vec![known];
    assert!(rests(&plan(&snapshot)).is_empty());
    // Launched afterwards, it doubles the rest.
    snapshot.refusals[0].at = at(-10);
    let plan = plan(&snapshot);
    let next = plan.steps.iter().find_map(|step| match &step.action {
        Action::RestPool { refusal } => Some(refusal.clone()),
        _ => None,
    });
    let next = next.unwrap();
    assert_eq!((next.rests, next.until), (2, at(360)));
}

/// An upgrade to a bad image must not keep the current image from being launched.
#[test]
fn death_that_may_be_the_images_fault_counts_for_that_image_only() {
    let mut snapshot = snapshot([instance("i-1")]);
    let mut of_another = refusal(false, "c5.large", "subnet-a", at(100));
    of_another.image = Some("ami-2".into());
    snapshot.refusals = vec![of_another];
    let is_of_a = |plan: &Plan| plan.to_string().contains("1 x c5.large in subnet-a, or");
    assert!(is_of_a(&plan(&snapshot)));
    snapshot.refusals[0].image = Some("ami-1".into());
    assert!(!is_of_a(&plan(&snapshot)));
}

#[test]
fn refusal_is_forgotten_once_a_later_instance_has_lived() {
    let lived = |launched: i64, active: i64| Instance {
        launched_at: at(launched),
        active_at: Some(at(active)),
        ..instance("i-1")
    };
    let mut known = refusal(false, "c5.large", "subnet-a", at(-400));
    known.at = at(-600);
    for (name, row, forgotten) in [
        ("lived", lived(-500, -300), true),
        ("too young", lived(-500, -299), false),
        ("launched before", lived(-700, -650), false),
    ] {
        let mut snapshot = snapshot([row, instance("i-2")]);
        snapshot.refusals = vec![known.clone()];
        let steps = plan(&snapshot).steps;
        let mut actions = steps.iter().map(|step| &step.action);
        let found = actions.any(|action| matches!(action, Action::ForgetRest { .. }));
        assert_eq!(found, forgotten, "{name}");
    }
}

#[test]
fn limit_of_the_hour_bounds_launches_and_is_alerted() {
    let mut snapshot = snapshot([instance("i-1")]);
    snapshot.settings.target_free = 8;
    snapshot.settings.launches_per_hour = Some(12);
    snapshot.launches.add(11, at(-1800));
    assert_plan(
        &snapshot,
        "target 8, free 2, starting 0, waiting 0, occupied 0, live 1 of 10
        - launch from ami-1: 1 x c5.large in subnet-a, or 1 x c5.large in subnet-b: free 2 and starting 0 are below target 8 + waiting 0
        ! 11 instances were launched within an hour, of at most 12 (launches_per_hour): fewer or none are launched until 2026-01-01T12:30:00Z. Find out why so many were needed",
    );
    snapshot.launches.add(1, at(-60));
    let plan = plan(&snapshot);
    let launches = |plan: &Plan| {
        let mut actions = plan.steps.iter().map(|step| &step.action);
        actions.any(|action| matches!(action, Action::Launch { .. }))
    };
    assert!(!launches(&plan), "{plan}");
    snapshot.settings.launches_per_hour = Some(0);
    assert!(launches(&decide(&snapshot, NOW).unwrap()), "0 is no limit");
    snapshot.settings.launches_per_hour = None;
    assert_eq!(snapshot.settings.launch_limit(), Some(40));
}

/// Instances of the only choice die as soon as they are launched, for two hours.
#[test]
fn deaths_slow_down_and_stay_within_the_hour() {
    let mut snapshot = snapshot([]);
    snapshot.settings.launch_choices.truncate(1);
    let mut launches = vec![];
    for second in (0..7200).step_by(5) {
        let now = at(second);
        snapshot.watched_since = at(0);
        let plan = algorithm("default").unwrap().decide(&snapshot, now);
        snapshot.refusals.clone_from(&plan.refusals);
        snapshot.instances.clear();
        snapshot.machines.clear();
        for step in &plan.steps {
            let Action::Launch { options, .. } = &step.action else {
                continue;
            };
            launches.push(second);
            for number in 0..options[0].count {
                let row = Instance {
                    launched_at: now,
                    ..booting(&format!("i-{second}-{number}"), 0)
                };
                let machine: Machine = Machine {
                    launched_at: now,
                    ..testing::machine(&row)
                };
                snapshot.machines.insert(row.id.clone(), machine);
                let id = row.id.to_string();
                snapshot.instances.insert(row.id.clone(), row);
                ended(&mut snapshot, &id, "Server.InternalError");
            }
        }
    }
    let minutes: Vec<_> = launches.iter().map(|second| second / 60).collect();
    assert_eq!(minutes, [0, 3, 9, 21, 45, 93]);
}

fn drained(cause: DrainCause, beat: i64) -> Instance {
    Instance {
        status: InstanceStatus::Draining,
        draining_since: Some(at(-10)),
        drain_cause: Some(cause),
        beat_at: Some(at(beat)),
        slots: SlotCounts {
            waiting: 2,
            ..SlotCounts::default()
        },
        ..instance("i-1")
    }
}

#[test]
fn drain_for_surplus_is_taken_back_when_its_slots_are_needed() {
    assert_plan(
        &snapshot([drained(DrainCause::Surplus, -20), instance("i-2")]),
        "target 4, free 4, starting 0, waiting 0, occupied 0, live 2 of 10
        - take back the drain of i-1: 2 slots are missing, and its agent does not know of the drain
        · free 4 and starting 0 meet the target of 4",
    );
}

#[test]
fn drain_is_kept_if_its_agent_knows_or_it_had_another_cause() {
    let others = [
        DrainCause::Maximum,
        DrainCause::Room,
        DrainCause::Image,
        DrainCause::Notice,
        DrainCause::Agent,
        DrainCause::Operator,
        DrainCause::Revoked,
    ];
    let mut kept: Vec<_> = others.map(|cause| drained(cause, -20)).into();
    kept.push(drained(DrainCause::Surplus, -9));
    kept.push(drained(DrainCause::Surplus, -100));
    for row in kept {
        let name = format!("{:?}, {:?}", row.drain_cause, row.beat_at);
        let plan = plan(&snapshot([row, instance("i-2")]));
        let mut actions = plan.steps.iter().map(|step| &step.action);
        let reopens = actions.any(|action| matches!(action, Action::Reopen { .. }));
        assert!(!reopens, "{name}: {plan}");
    }
    // Nothing is missing.
    let full = [
        drained(DrainCause::Surplus, -20),
        instance("i-2"),
        instance("i-3"),
    ];
    let plan = plan(&snapshot(full));
    assert!(plan.steps.is_empty(), "{plan}");
    assert!(
        plan.notes
            .iter()
            .any(|note| matches!(note.reason, Reason::BufferFull { .. }))
    );
}
