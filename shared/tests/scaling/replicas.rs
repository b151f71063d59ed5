//! The algorithm `replica`: golden plans, a table and properties.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, prop_compose,
    prop_oneof, proptest,
};
use shared::model::{ImageState, Instance, Machine, MachineState, ReplicaAnswer};
use shared::scaling::{Action, Plan, Snapshot, Step, algorithm};
use shared::settings::REPLICA;
use testing::{NOW, address_of, at, image, instance, machine, snapshot};

use crate::support::{assert_plan, intent, violations};

/// A replica's state in EC2's list, and its own status.
#[derive(Clone, Debug)]
enum Is {
    Healthy(u32),
    Terminated,
    Silent,
    Creating,
    /// It runs, and EC2 does not list its address yet.
    Unaddressed,
    State(MachineState),
}

/// A region with the capacity 3, the minimum 6 and no maximum. The replicas are `i-1`, `i-2`, …, the
/// oldest first.
fn region(replicas: &[Is]) -> Snapshot {
    let mut snapshot = snapshot([]);
    snapshot.settings.algorithm = REPLICA.to_owned();
    snapshot.settings.max_instances = u32::MAX;
    snapshot.settings.replicas.capacity = 3;
    snapshot.settings.replicas.min_available = 6;
    snapshot.settings.launch_choices.truncate(1);
    for (number, is) in (1..).zip(replicas) {
        let row = Instance {
            launched_at: at(i64::from(number) - 10_000),
            launch_id: format!("launch-{number}").into(),
            ..instance(&format!("i-{number}"))
        };
        let state = match is {
            Is::Creating => MachineState::Pending,
            Is::State(state) => *state,
            _ => MachineState::Running,
        };
        let answer = match is {
            Is::Healthy(capacity) => Some(ReplicaAnswer::Healthy {
                capacity: *capacity,
            }),
            Is::Terminated => Some(ReplicaAnswer::Terminated),
            Is::Silent => Some(ReplicaAnswer::Unknown {
                why: "no answer within 3s".to_owned(),
            }),
            _ => None,
        };
        snapshot
            .answers
            .extend(answer.map(|answer| (row.id.clone(), answer)));
        let listed = Machine {
            state,
            address: (!matches!(is, Is::Unaddressed)).then(|| address_of(number)),
            ..machine(&row)
        };
        snapshot.machines.insert(row.id, listed);
    }
    snapshot
}

fn decide(snapshot: &Snapshot) -> Plan {
    algorithm(REPLICA).unwrap().decide(snapshot, NOW)
}

#[test]
fn replicas_of_each_status_are_deleted_kept_and_created() {
    let replicas = [
        Is::Healthy(0),
        Is::Terminated,
        Is::Healthy(1),
        Is::Silent,
        Is::Creating,
    ];
    assert_plan(
        &region(&replicas),
        "target 6, free 1, starting 3, waiting 0, occupied 0, live 5 of 4294967295
        i-1 healthy, capacity 0: kept: counts with 0
        i-2 terminated: delete: it reports that it is terminated
        i-3 healthy, capacity 1: kept: counts with 1
        i-4 unknown (no answer within 3s): kept: neither deleted nor counted
        i-5 creating: kept: counts with 3 (REPLICA_CAPACITY)
        - delete replica i-2: it reports that it is terminated
        - launch from ami-1: 1 x c5.large in subnet-a: available 1 and creating 3 are below the minimum of 6",
    );
}

/// The ids of deleted replicas, and the number of created ones.
fn outcome(snapshot: &Snapshot) -> (Vec<String>, u32) {
    let plan = decide(snapshot);
    assert_eq!(violations(snapshot, &plan, NOW), [], "{plan}");
    let mut deleted = Vec::new();
    let mut created = 0;
    for step in &plan.steps {
        match &step.action {
            Action::DeleteReplica { instance } => deleted.push(instance.to_string()),
            Action::Launch { options, .. } => created += options[0].count,
            _ => {}
        }
    }
    (deleted, created)
}

#[test]
fn replica_state_determines_what_is_deleted_and_created() {
    use MachineState::{ShuttingDown, Stopped, Stopping, Terminated};
    let cases: [(&str, &[Is], &[&str], u32); 12] = [
        ("no replicas", &[], &[], 2),
        (
            "exactly the minimum",
            &[Is::Healthy(3), Is::Healthy(3)],
            &[],
            0,
        ),
        (
            "one less than the minimum",
            &[Is::Healthy(3), Is::Healthy(2)],
            &[],
            1,
        ),
        (
            "more than the minimum",
            &[Is::Healthy(3), Is::Healthy(9)],
            &[],
            0,
        ),
        (
            "a creating replica counts with its whole capacity",
            &[Is::Creating, Is::Creating],
            &[],
            0,
        ),
        (
            "so does a replica without an address",
            &[Is::Unaddressed, Is::Healthy(3)],
            &[],
            0,
        ),
        (
            "full replicas are kept and do not count",
            &[Is::Healthy(0), Is::Healthy(0)],
            &[],
            2,
        ),
        (
            "silent replicas are kept and do not count",
            &[Is::Silent, Is::Silent],
            &[],
            2,
        ),
        (
            "terminated replicas are deleted",
            &[Is::Terminated, Is::Healthy(6)],
            &["i-1"],
            0,
        ),
        (
            "replicas that EC2 deletes do not count and are not deleted again",
            &[
                Is::State(ShuttingDown),
                Is::State(Terminated),
                Is::Healthy(6),
            ],
            &[],
            0,
        ),
        (
            "replicas that EC2 neither builds nor runs are deleted",
            &[Is::State(Stopping), Is::State(Stopped)],
            &["i-1", "i-2"],
            2,
        ),
        ("a whole replica for one unit", &[Is::Healthy(5)], &[], 1),
    ];
    for (case, replicas, deleted, created) in cases {
        let expected = (deleted.iter().map(ToString::to_string).collect(), created);
        assert_eq!(outcome(&region(replicas)), expected, "{case}");
    }
}

#[test]
fn launch_that_ec2_does_not_list_yet_counts_as_creating() {
    let mut snapshot = region(&[Is::Creating]);
    // This launch requested two replicas, and one of them is listed.
    let mut open = intent(2, 10);
    open.launch_id = "launch-1".into();
    snapshot.open_intents = vec![open];
    assert_eq!(outcome(&snapshot), (vec![], 0));
    assert_eq!(decide(&snapshot).counts.starting, 6);
}

#[test]
fn launch_above_maximum_is_cut_and_alerted() {
    let mut snapshot = region(&[Is::Healthy(0), Is::Silent]);
    snapshot.settings.max_instances = 3;
    let plan = decide(&snapshot);
    assert_eq!(outcome(&snapshot).1, 1);
    let alerts: Vec<_> = plan.notes.iter().filter(|note| note.alert).collect();
    assert_eq!(
        alerts[0].reason.to_string(),
        "capacity 6 is missing, but 2 of at most 3 replicas are live (max_instances)"
    );
    snapshot.settings.max_instances = 2;
    assert_eq!(outcome(&snapshot).1, 0);
}

#[test]
fn surplus_is_trimmed_only_if_set_and_only_from_idle_replicas() {
    let mut snapshot = region(&[
        Is::Healthy(2),
        Is::Healthy(3),
        Is::Healthy(3),
        Is::Healthy(3),
    ]);
    assert_eq!(outcome(&snapshot), (vec![], 0));
    snapshot.settings.replicas.trim = true;
    // 11 are available, which is a whole replica more than 6: the oldest idle one is deleted.
    assert_eq!(outcome(&snapshot), (vec!["i-2".to_owned()], 0));
    snapshot.settings.replicas.min_available = 1;
    let all = ["i-2", "i-3", "i-4"].map(str::to_owned).to_vec();
    assert_eq!(outcome(&snapshot), (all, 0));
    // A replica that is being created may fail: it does not justify a deletion.
    let mut creating = region(&[Is::Healthy(3), Is::Healthy(3), Is::Creating]);
    creating.settings.replicas.trim = true;
    assert_eq!(outcome(&creating), (vec![], 0));
}

#[test]
fn replica_unknown_for_too_long_is_deleted_only_if_set() {
    let mut snapshot = region(&[Is::Healthy(6), Is::Silent]);
    let limit = SignedDuration::from_secs(300);
    snapshot.unknown_since = BTreeMap::from([("i-2".into(), at(-300))]);
    assert_eq!(outcome(&snapshot), (vec![], 0), "not set");
    snapshot.settings.replicas.replace_unknown = Some(limit);
    assert_eq!(outcome(&snapshot), (vec!["i-2".to_owned()], 0));
    snapshot.unknown_since = BTreeMap::from([("i-2".into(), at(-299))]);
    assert_eq!(outcome(&snapshot), (vec![], 0), "a moment before");
    // Its beginning is recorded, and so is its end.
    snapshot.unknown_since.clear();
    assert_plan(
        &snapshot,
        "target 6, free 6, starting 0, waiting 0, occupied 0, live 2 of 4294967295
        i-1 healthy, capacity 6: kept: counts with 6
        i-2 unknown (no answer within 3s): kept: neither deleted nor counted
        - remember 1 unknown replicas: replicas with unknown status: 1
        · available 6 and creating 0 meet the minimum of 6",
    );
    let mut again = region(&[Is::Healthy(6), Is::Healthy(1)]);
    again.settings.replicas.replace_unknown = Some(limit);
    again.unknown_since = BTreeMap::from([("i-2".into(), at(-400))]);
    let clears_record =
        |step: &Step| matches!(&step.action, Action::RememberUnknown { since } if since.is_empty());
    assert!(decide(&again).steps.iter().any(clears_record));
    assert_eq!(outcome(&again), (vec![], 0));
}

#[test]
fn silent_replica_within_boot_time_counts_as_creating_if_set() {
    let mut snapshot = region(&[Is::Healthy(3), Is::Silent]);
    let silent = snapshot.machines.get_mut(&"i-2".into()).unwrap();
    silent.launched_at = at(-60);
    assert_eq!(outcome(&snapshot), (vec![], 1), "not set");
    snapshot.settings.replicas.boot = Some(SignedDuration::from_secs(61));
    assert_eq!(outcome(&snapshot), (vec![], 0));
    snapshot.settings.replicas.boot = Some(SignedDuration::from_secs(60));
    assert_eq!(
        outcome(&snapshot),
        (vec![], 1),
        "by then it should have answered"
    );
}

#[test]
fn all_replicas_unknown_at_once_are_kept_until_approved() {
    let mut snapshot = region(&[Is::Silent, Is::Silent, Is::Silent, Is::Silent]);
    snapshot.settings.replicas.replace_unknown = Some(SignedDuration::from_secs(60));
    let long_ago = snapshot.machines.keys().map(|id| (id.clone(), at(-600)));
    snapshot.unknown_since = long_ago.collect();
    assert_eq!(
        outcome(&snapshot),
        (vec![], 2),
        "the guard keeps them; missing capacity is created"
    );
    let plan = decide(&snapshot);
    assert!(plan.notes.iter().any(|note| note.alert), "{plan}");
    snapshot.mass_removal_approved = true;
    assert_eq!(outcome(&snapshot).0.len(), 4, "approved by an operator");
}

#[test]
fn paused_region_has_no_steps_and_disabled_one_creates_nothing() {
    let mut snapshot = region(&[Is::Terminated, Is::Healthy(0)]);
    snapshot.settings.paused = true;
    let plan = decide(&snapshot);
    assert!(plan.is_empty());
    assert_eq!(plan.replicas.len(), 2);
    snapshot.settings.paused = false;
    snapshot.settings.enabled = false;
    assert_eq!(outcome(&snapshot), (vec!["i-1".to_owned()], 0));
}

#[test]
fn missing_image_is_alerted_and_creates_nothing() {
    let mut snapshot = region(&[]);
    snapshot.images.clear();
    assert_eq!(outcome(&snapshot), (vec![], 0));
    assert!(decide(&snapshot).notes.iter().any(|note| note.alert));
}

#[test]
fn requested_image_is_current_at_once_and_retires_the_one_before() {
    let mut snapshot = region(&[]);
    snapshot.images.push(image("ami-2", ImageState::Warming));
    let first = decide(&snapshot);
    assert_eq!(
        first.steps[0].to_string(),
        "move ami-2 from WARMING to CURRENT: replicas are neither warmed nor kept for a rollback"
    );
    assert_eq!(outcome(&snapshot).1, 0, "the next round creates");
    snapshot.images[0].state = ImageState::Baking;
    snapshot.images[1].state = ImageState::Current;
    let second = decide(&snapshot);
    assert_eq!(
        second.steps[0].to_string(),
        "move ami-1 from BAKING to RETIRED: replicas are neither warmed nor kept for a rollback"
    );
    snapshot.images[0].state = ImageState::Retired;
    assert_eq!(outcome(&snapshot).1, 2);
}

fn any_replica() -> impl Strategy<Value = Is> {
    prop_oneof![
        4 => (0u32..5).prop_map(Is::Healthy),
        1 => Just(Is::Terminated),
        2 => Just(Is::Silent),
        1 => Just(Is::Creating),
        1 => Just(Is::Unaddressed),
        1 => Just(Is::State(MachineState::Stopped)),
        1 => Just(Is::State(MachineState::ShuttingDown)),
    ]
}

prop_compose! {
    fn any_region()(
        replicas in prop::collection::vec(any_replica(), 0..20),
        min in 0u32..20,
        capacity in 1u32..5,
        max in prop_oneof![Just(u32::MAX), 0u32..25],
        trim in any::<bool>(),
        bound in prop::option::of(1i64..600),
        unknown in prop::collection::vec(0i64..600, 20),
        approved in prop::bool::weighted(0.2),
    ) -> Snapshot {
        let mut snapshot = region(&replicas);
        snapshot.settings.replicas.min_available = min;
        snapshot.settings.replicas.capacity = capacity;
        snapshot.settings.max_instances = max;
        snapshot.settings.replicas.trim = trim;
        snapshot.settings.replicas.replace_unknown = bound.map(SignedDuration::from_secs);
        let since = snapshot.machines.keys().cloned().zip(unknown);
        snapshot.unknown_since = since.map(|(id, age)| (id, at(-age))).collect();
        snapshot.mass_removal_approved = approved;
        snapshot
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// No replica that may have users is deleted, the maximum holds, and nothing is ended twice.
    #[test]
    fn replica_plan_breaks_no_invariant(snapshot in any_region()) {
        let plan = decide(&snapshot);
        prop_assert_eq!(violations(&snapshot, &plan, NOW), vec![], "{}", plan);
    }

    /// Afterwards the minimum or the maximum is reached, and not by a whole replica too much.
    #[test]
    fn created_replicas_reach_the_minimum_and_no_more(snapshot in any_region()) {
        let plan = decide(&snapshot);
        let created = outcome(&snapshot).1;
        let settings = &snapshot.settings;
        let (capacity, min) = (settings.replicas.capacity, settings.replicas.min_available);
        let before = plan.counts.free + plan.counts.starting;
        let after = before + created * capacity;
        let at_maximum = plan.counts.live + created >= settings.max_instances;
        prop_assert!(after >= min || at_maximum, "{plan}");
        prop_assert!(created == 0 || after < min + capacity, "{plan}");
    }

    /// Every replica is shown once, and every deletion is shown with its replica.
    #[test]
    fn plan_shows_each_replica_with_its_decision(snapshot in any_region()) {
        let plan = decide(&snapshot);
        let shown: Vec<_> = plan.replicas.iter().map(|view| &view.instance).collect();
        prop_assert_eq!(shown, snapshot.machines.keys().collect::<Vec<_>>());
        let deleted = outcome(&snapshot).0;
        for view in &plan.replicas {
            let is_deleted = deleted.contains(&view.instance.to_string());
            prop_assert_eq!(view.decided.starts_with("delete: "), is_deleted, "{}", plan);
        }
    }
}
