//! Golden plans of drift between rows and EC2's listing, and of the guard.

use shared::model::{Instance, InstanceStatus, MachineState};
use shared::scaling::{Action, algorithm};
use testing::{NOW, at, instance, machine, snapshot};

use crate::support::{assert_plan, booting, draining, intent, occupied, silent};

#[test]
fn all_agents_silent_at_once_keeps_every_instance_until_approved() {
    let instances = ["i-1", "i-2", "i-3", "i-4"].map(|id| silent(id, 1000));
    let mut snapshot = snapshot(instances);
    snapshot.settings.max_instances = 4;
    assert_plan(
        &snapshot,
        r#"target 4, free 0, starting 0, waiting 0, occupied 0, live 4 of 4
        ! guard: 0 gone, 0 orphaned and 4 silent at once, more than 3: none is removed. Check EC2 and the database, then invoke reconcile with {"regions":[…],"approve_mass_removal":true}
        ! 4 slots are missing, but 4 of at most 4 instances are live (max_instances)"#,
    );
    snapshot.mass_removal_approved = true;
    let plan = algorithm("default").unwrap().decide(&snapshot, NOW);
    assert_eq!(plan.steps.len(), 4, "{plan}");
}

#[test]
fn terminated_machine_loses_its_row() {
    let mut snapshot = snapshot([
        draining("i-1", 30),
        Instance {
            status: InstanceStatus::Terminating,
            ..instance("i-2")
        },
        Instance {
            status: InstanceStatus::Terminating,
            ..instance("i-3")
        },
        occupied("i-4", 1),
        instance("i-5"),
        instance("i-6"),
    ]);
    for (id, state) in [
        ("i-1", MachineState::Terminated),
        ("i-2", MachineState::Terminated),
        ("i-4", MachineState::ShuttingDown),
    ] {
        snapshot.machines.get_mut(&id.into()).unwrap().state = state;
    }
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 0, waiting 0, occupied 1, live 4 of 10
        - terminate i-1: terminated at EC2 while its row is DRAINING with 0 users
        - remove the row of i-1: EC2 reports it as terminated
        - remove the row of i-2: EC2 reports it as terminated
        - terminate i-4: shutting-down at EC2 while its row is ACTIVE with 1 user
        - terminate i-3: its row is TERMINATING, but EC2 has not terminated it
        ! i-4: shutting-down at EC2 while its row is ACTIVE with 1 user
        · free 4 and starting 0 meet the target of 4",
    );
}

#[test]
fn stopped_machine_is_terminated() {
    let mut snapshot = snapshot([
        occupied("i-1", 1),
        Instance {
            status: InstanceStatus::Terminating,
            ..instance("i-2")
        },
        instance("i-3"),
        instance("i-4"),
    ]);
    for (id, state) in [
        ("i-1", MachineState::Stopping),
        ("i-2", MachineState::Stopped),
    ] {
        snapshot.machines.get_mut(&id.into()).unwrap().state = state;
    }
    let plan = algorithm("default").unwrap().decide(&snapshot, NOW);
    let requested = plan
        .steps
        .iter()
        .filter(|step| matches!(step.action, Action::Terminate { ask_ec2: true, .. }));
    assert_eq!(requested.count(), 2, "{plan}");
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 0, waiting 0, occupied 1, live 4 of 10
        - terminate i-1: stopping at EC2 while its row is ACTIVE with 1 user
        - terminate i-2: its row is TERMINATING, but EC2 has not terminated it
        ! i-1: stopping at EC2 while its row is ACTIVE with 1 user
        · free 4 and starting 0 meet the target of 4",
    );
}

#[test]
fn missing_instance_is_removed_once_overdue_unknown_and_silent() {
    let missing = |id: &str, since| Instance {
        missing_since: since,
        ..instance(id)
    };
    let mut snapshot = snapshot([
        missing("i-1", None),
        missing("i-2", Some(at(-299))),
        Instance {
            missing_since: Some(at(-300)),
            ..silent("i-3", 300)
        },
        missing("i-4", Some(at(-10))),
        instance("i-5"),
    ]);
    snapshot.settings.target_free = 8;
    for id in ["i-1", "i-2", "i-3"] {
        snapshot.machines.remove(&id.into());
    }
    snapshot.unknown_to_ec2 = ["i-3".into()].into();
    assert_plan(
        &snapshot,
        "target 8, free 8, starting 0, waiting 0, occupied 0, live 4 of 10
        - note i-4 as listed again: EC2 lists it again
        - note i-1 as missing: a complete EC2 listing does not contain it
        - terminate i-3: missing for 300 s, and EC2 does not know its id
        - remove the row of i-3: missing for 300 s, and EC2 does not know its id
        · i-2: missing for 299 s
        · free 8 and starting 0 meet the target of 8",
    );
}

#[test]
fn missing_instance_with_heartbeats_or_known_id_is_kept_and_alerted() {
    let missing = |id: &str| Instance {
        missing_since: Some(at(-900)),
        ..instance(id)
    };
    let mut snapshot = snapshot([missing("i-1"), missing("i-2")]);
    snapshot.machines.clear();
    snapshot.unknown_to_ec2 = ["i-1".into()].into();
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 0, waiting 0, occupied 0, live 2 of 10
        ! i-1: missing from EC2 for 900 s, but its agent sends heartbeats: are the functions in the right AWS account?
        ! i-2: missing from listings for 900 s, but EC2 knows its id: were its tags removed?
        · free 4 and starting 0 meet the target of 4",
    );
}

#[test]
fn agents_silent_or_resumed_one_by_one_keep_every_instance() {
    let mut snapshot = snapshot(["i-1", "i-2", "i-3", "i-4"].map(|id| silent(id, 595)));
    snapshot.settings.target_free = 0;
    snapshot.instances.get_mut(&"i-1".into()).unwrap().beat_at = Some(at(-600));
    let guarded = r#"target 0, free 0, starting 0, waiting 0, occupied 0, live 4 of 10
        ! guard: 0 gone, 0 orphaned and 4 silent at once, more than 3: none is removed. Check EC2 and the database, then invoke reconcile with {"regions":[…],"approve_mass_removal":true}"#;
    let plan = algorithm("default")
        .unwrap()
        .decide(&snapshot, NOW)
        .to_string();
    let guarded: Vec<_> = guarded.lines().map(str::trim).collect();
    assert_eq!(plan.lines().take(2).collect::<Vec<_>>(), guarded);

    // They send heartbeats again one by one.
    for id in ["i-2", "i-3", "i-4"] {
        let resumed = snapshot.instances.get_mut(&id.into()).unwrap();
        (resumed.beat_at, resumed.resumed_at) = (Some(NOW), Some(at(-3)));
    }
    let plan = algorithm("default").unwrap().decide(&snapshot, NOW);
    assert!(
        !plan
            .steps
            .iter()
            .any(|step| step.to_string().contains("i-1:")),
        "{plan}"
    );
}

#[test]
fn old_orphan_is_terminated_young_one_and_open_launch_are_kept() {
    let mut snapshot = snapshot([instance("i-1"), instance("i-2")]);
    for (id, age) in [("i-old", 601), ("i-young", 599), ("i-open", 700)] {
        let mut orphan = machine(&booting(id, age));
        if id == "i-open" {
            orphan.launch_id = Some("launch-open".into());
        }
        snapshot.machines.insert(id.into(), orphan);
    }
    snapshot.open_intents = vec![intent(1, 700)];
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 2, waiting 0, occupied 0, live 5 of 10
        - resume launch launch-open: recorded by an earlier pass; instances without a row: 1
        - terminate orphan i-old: no row, launch launch-of-i-old is closed, and it is 601 s old
        · i-young: no row and no open launch, but only 599 s old: kept, because listings lag
        ! i-old: no row, launch launch-of-i-old is closed, and it is 601 s old
        · free 4 and starting 2 meet the target of 4",
    );
}

#[test]
fn empty_listing_removes_nothing() {
    let mut snapshot = snapshot(["i-1", "i-2", "i-3", "i-4"].map(|id| Instance {
        missing_since: Some(at(-1000)),
        ..instance(id)
    }));
    snapshot.unknown_to_ec2 = snapshot.instances.keys().cloned().collect();
    snapshot.machines.clear();
    snapshot.settings.target_free = 8;
    assert_plan(
        &snapshot,
        r#"target 8, free 8, starting 0, waiting 0, occupied 0, live 4 of 10
        ! guard: 4 gone, 0 orphaned and 0 silent at once, more than 3: none is removed. Check EC2 and the database, then invoke reconcile with {"regions":[…],"approve_mass_removal":true}
        · free 8 and starting 0 meet the target of 8"#,
    );
}

#[test]
fn row_younger_than_listing_lag_is_not_missing() {
    let mut snapshot = snapshot([booting("i-1", 59), booting("i-2", 59)]);
    snapshot.machines.clear();
    assert_plan(
        &snapshot,
        "target 4, free 0, starting 4, waiting 0, occupied 0, live 2 of 10
        · free 0 and starting 4 meet the target of 4",
    );
}
