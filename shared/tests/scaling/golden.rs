//! A snapshot in, the plan with its reasons out, as an operator would read it.

use jiff::SignedDuration;

use crate::support::{assert_plan, booting, draining, intent, occupied, silent};
use shared::model::{
    CapacityRefusal, ImageState, Instance, InstanceStatus, MachineState, SlotCounts, SpotNotice,
};
use shared::scaling::{Action, algorithm};
use shared::settings::LaunchChoice;
use testing::{NOW, at, image, instance, machine, snapshot};

#[test]
fn an_empty_region_is_filled() {
    assert_plan(
        &snapshot([]),
        "target 4, free 0, starting 0, waiting 0, occupied 0, live 0 of 10
        - launch from ami-1: 2 x c5.large in subnet-a, or 2 x c5.large in subnet-b: free 0 and starting 0 are below target 4 + waiting 0",
    );
}

#[test]
fn a_full_buffer_is_left_alone() {
    assert_plan(
        &snapshot([instance("i-1"), instance("i-2")]),
        "target 4, free 4, starting 0, waiting 0, occupied 0, live 2 of 10
        · free 4 and starting 0 meet the target of 4",
    );
}

#[test]
fn half_an_instance_too_much_is_no_surplus_and_half_too_little_is_one_launch() {
    let mut snapshot = snapshot([occupied("i-1", 1), instance("i-2")]);
    assert_plan(
        &snapshot,
        "target 4, free 3, starting 0, waiting 0, occupied 1, live 2 of 10
        - launch from ami-1: 1 x c5.large in subnet-a, or 1 x c5.large in subnet-b: free 3 and starting 0 are below target 4 + waiting 0",
    );
    snapshot.settings.target_free = 2;
    assert_plan(
        &snapshot,
        "target 2, free 3, starting 0, waiting 0, occupied 1, live 2 of 10
        · free 3 and starting 0 meet the target of 2",
    );
}

#[test]
fn the_oldest_empty_instance_of_a_surplus_is_drained() {
    let old = Instance {
        launched_at: at(-7200),
        ..instance("i-9")
    };
    assert_plan(
        &snapshot([occupied("i-1", 1), instance("i-2"), old, instance("i-3")]),
        "target 4, free 7, starting 0, waiting 0, occupied 1, live 4 of 10
        - drain i-9: free 7 exceeds the target of 4 by a whole instance
        · free 7 and starting 0 meet the target of 4",
    );
}

#[test]
fn waiting_users_are_demand() {
    let mut snapshot = snapshot([instance("i-1"), instance("i-2")]);
    snapshot.waiting = 3;
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 0, waiting 3, occupied 0, live 2 of 10
        - launch from ami-1: 2 x c5.large in subnet-a, or 2 x c5.large in subnet-b: free 4 and starting 0 are below target 4 + waiting 3",
    );
}

#[test]
fn steps_bound_what_one_pass_does() {
    let mut snapshot = snapshot([]);
    snapshot.settings.scale_up_step = 1;
    assert_plan(
        &snapshot,
        "target 4, free 0, starting 0, waiting 0, occupied 0, live 0 of 10
        - launch from ami-1: 1 x c5.large in subnet-a, or 1 x c5.large in subnet-b: free 0 and starting 0 are below target 4 + waiting 0
        · 2 instances are needed, but one pass launches at most 1 (scale_up_step)",
    );
}

#[test]
fn the_maximum_bounds_and_says_so() {
    let mut snapshot = snapshot([occupied("i-1", 2), occupied("i-2", 2)]);
    snapshot.settings.max_instances = 3;
    assert_plan(
        &snapshot,
        "target 4, free 0, starting 0, waiting 0, occupied 4, live 2 of 3
        - launch from ami-1: 1 x c5.large in subnet-a, or 1 x c5.large in subnet-b: free 0 and starting 0 are below target 4 + waiting 0
        ! 4 slots are missing, but 2 of at most 3 instances are live (max_instances)",
    );
}

#[test]
fn what_is_starting_counts_and_an_open_intent_is_resumed_first() {
    let mut snapshot = snapshot([booting("i-1", 20)]);
    snapshot.open_intents = vec![intent(1, 20)];
    assert_plan(
        &snapshot,
        "target 4, free 0, starting 4, waiting 0, occupied 0, live 2 of 10
        - resume launch launch-open: recorded by an earlier pass; instances without a row: 1
        · free 0 and starting 4 meet the target of 4",
    );
}

#[test]
fn an_intent_of_yesterday_is_only_looked_up() {
    let mut snapshot = snapshot([instance("i-1"), instance("i-2")]);
    snapshot.open_intents = vec![intent(1, 13 * 3600)];
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 0, waiting 0, occupied 0, live 3 of 10
        - resume launch launch-open: recorded 13 h ago: its instances are looked up, but it is not launched again
        ! recorded 13 h ago: its instances are looked up, but it is not launched again
        · free 4 and starting 0 meet the target of 4",
    );
}

#[test]
fn a_choice_that_was_refused_lately_is_passed_over() {
    let refusal = |subnet: &str| CapacityRefusal {
        spot: false,
        instance_type: "c5.large".to_owned(),
        subnet_id: subnet.to_owned(),
        until: at(100),
    };
    let mut snapshot = snapshot([instance("i-1")]);
    snapshot.refusals = vec![refusal("subnet-a")];
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 0, live 1 of 10
        - launch from ami-1: 1 x c5.large in subnet-b: free 2 and starting 0 are below target 4 + waiting 0",
    );
    snapshot.refusals.push(refusal("subnet-b"));
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 0, live 1 of 10
        ! EC2 had no capacity for any launch choice; the next attempt is after 2026-01-01T12:01:40Z",
    );
}

#[test]
fn spot_gives_way_to_on_demand_while_its_refusal_is_remembered() {
    let mut snapshot = snapshot([instance("i-1")]);
    snapshot.settings.launch_choices.truncate(1);
    let on_demand = snapshot.settings.launch_choices[0].clone();
    let spot = LaunchChoice {
        spot: true,
        ..on_demand.clone()
    };
    snapshot.settings.launch_choices = vec![spot, on_demand];
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 0, live 1 of 10
        - launch from ami-1: 1 x spot c5.large in subnet-a, or 1 x c5.large in subnet-a: free 2 and starting 0 are below target 4 + waiting 0",
    );
    let refusal = |spot| CapacityRefusal {
        spot,
        instance_type: "c5.large".to_owned(),
        subnet_id: "subnet-a".to_owned(),
        until: at(100),
    };
    snapshot.refusals = vec![refusal(true)];
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 0, live 1 of 10
        - launch from ami-1: 1 x c5.large in subnet-a: free 2 and starting 0 are below target 4 + waiting 0",
    );
    snapshot.refusals = vec![refusal(false)];
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 0, live 1 of 10
        - launch from ami-1: 1 x spot c5.large in subnet-a: free 2 and starting 0 are below target 4 + waiting 0",
    );
}

#[test]
fn without_an_image_or_a_choice_an_operator_is_told() {
    let mut snapshot = snapshot([]);
    snapshot.settings.launch_choices.clear();
    assert_plan(
        &snapshot,
        "target 4, free 0, starting 0, waiting 0, occupied 0, live 0 of 10
        ! the region's `launch_choices` are empty",
    );
    snapshot.images.clear();
    assert_plan(
        &snapshot,
        "target 4, free 0, starting 0, waiting 0, occupied 0, live 0 of 10
        ! the region has no CURRENT image in table `images`",
    );
}

#[test]
fn what_never_came_up_is_replaced() {
    assert_plan(
        &snapshot([booting("i-1", 700), instance("i-2"), instance("i-3")]),
        "target 4, free 4, starting 0, waiting 0, occupied 0, live 3 of 10
        - terminate i-1: not ACTIVE 700 s after its launch (boot_seconds)
        ! i-1: not ACTIVE 700 s after its launch (boot_seconds)
        · free 4 and starting 0 meet the target of 4",
    );
}

#[test]
fn a_silent_instance_is_not_free_and_a_lost_one_is_given_up() {
    let lost = Instance {
        slots: occupied("i-2", 1).slots,
        ..silent("i-2", 600)
    };
    assert_plan(
        &snapshot([silent("i-1", 90), lost, instance("i-3"), instance("i-4")]),
        "target 4, free 4, starting 0, waiting 0, occupied 1, live 4 of 10
        - terminate i-2: lost: no heartbeat for 600 s (lost_seconds); 1 user on it
        ! i-2: lost: no heartbeat for 600 s (lost_seconds); 1 user on it
        · i-1: no heartbeat for 90 s: not counted as free; 0 users on it
        · free 4 and starting 0 meet the target of 4",
    );
}

#[test]
fn when_all_fall_silent_at_once_none_is_removed() {
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
fn draining_ends_when_empty_and_is_reported_while_occupied() {
    let still_used = Instance {
        slots: occupied("i-2", 2).slots,
        ..draining("i-2", 900)
    };
    assert_plan(
        &snapshot([
            draining("i-1", 599),
            still_used,
            draining("i-3", 600),
            instance("i-4"),
            instance("i-5"),
        ]),
        "target 4, free 4, starting 0, waiting 0, occupied 2, live 5 of 10
        - terminate i-3: draining and empty, but still running after 600 s
        ! i-2: draining for 900 s, kept because of 2 users
        · free 4 and starting 0 meet the target of 4",
    );
}

#[test]
fn what_ec2_has_given_up_is_verified_and_its_row_goes() {
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

fn noticed(instance: Instance, notice: SpotNotice) -> Instance {
    Instance {
        notice: Some(notice),
        ..instance
    }
}

#[test]
fn what_ec2_takes_is_left_at_once_with_whoever_is_there_and_replaced() {
    let mut snapshot = snapshot([
        noticed(occupied("i-1", 1), SpotNotice::Interruption),
        noticed(instance("i-2"), SpotNotice::Interruption),
        noticed(booting("i-3", 30), SpotNotice::Interruption),
        noticed(draining("i-4", 700), SpotNotice::Interruption),
        instance("i-5"),
    ]);
    snapshot
        .instances
        .get_mut(&"i-4".into())
        .unwrap()
        .slots
        .occupied = 1;
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 2, live 5 of 10
        - drain i-1: EC2 reclaims it within two minutes (spot interruption warning); 1 user on it
        - drain i-2: EC2 reclaims it within two minutes (spot interruption warning); 0 users on it
        - drain i-3: EC2 reclaims it within two minutes (spot interruption warning); 0 users on it
        - launch from ami-1: 1 x c5.large in subnet-a, or 1 x c5.large in subnet-b: free 2 and starting 0 are below target 4 + waiting 0
        · i-4: draining for 700 s, kept because of 1 user",
    );
}

#[test]
fn an_interruption_that_was_announced_is_nobodys_alarm() {
    let mut snapshot = snapshot([
        noticed(occupied("i-1", 1), SpotNotice::Interruption),
        noticed(draining("i-2", 60), SpotNotice::Interruption),
        instance("i-3"),
        instance("i-4"),
    ]);
    for id in ["i-1", "i-2"] {
        snapshot.machines.get_mut(&id.into()).unwrap().state = MachineState::ShuttingDown;
    }
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 0, waiting 0, occupied 1, live 4 of 10
        - terminate i-1: shutting-down at EC2 while its row is ACTIVE with 1 user
        - terminate i-2: shutting-down at EC2 while its row is DRAINING with 0 users
        · free 4 and starting 0 meet the target of 4",
    );
}

#[test]
fn what_ec2_may_take_is_replaced_first_and_then_left() {
    let mut snapshot = snapshot([
        noticed(instance("i-1"), SpotNotice::Rebalance),
        noticed(occupied("i-2", 1), SpotNotice::Rebalance),
        instance("i-3"),
    ]);
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 1, live 3 of 10
        - launch from ami-1: 1 x c5.large in subnet-a, or 1 x c5.large in subnet-b: free 2 and starting 0 are below target 4 + waiting 0
        · i-1: EC2 may reclaim it soon (rebalance recommendation): kept until it is replaced, not counted as free; 0 users on it
        · i-2: EC2 may reclaim it soon (rebalance recommendation): kept until it is replaced, not counted as free; 1 user on it",
    );
    snapshot.settings.target_free = 2;
    assert_plan(
        &snapshot,
        "target 2, free 2, starting 0, waiting 0, occupied 1, live 3 of 10
        - drain i-1: EC2 may reclaim it soon (rebalance recommendation); 0 users on it
        - drain i-2: EC2 may reclaim it soon (rebalance recommendation); 1 user on it
        · free 2 and starting 0 meet the target of 2",
    );
}

#[test]
fn at_the_maximum_an_empty_instance_that_ec2_may_take_makes_room() {
    let mut snapshot = snapshot([
        noticed(instance("i-1"), SpotNotice::Rebalance),
        noticed(instance("i-2"), SpotNotice::Rebalance),
        noticed(occupied("i-3", 1), SpotNotice::Rebalance),
    ]);
    snapshot.settings.max_instances = 3;
    assert_plan(
        &snapshot,
        "target 4, free 0, starting 0, waiting 0, occupied 1, live 3 of 3
        - drain i-1: EC2 may reclaim it soon (rebalance recommendation); 0 users on it
        · i-2: EC2 may reclaim it soon (rebalance recommendation): kept until it is replaced, not counted as free; 0 users on it
        · i-3: EC2 may reclaim it soon (rebalance recommendation): kept until it is replaced, not counted as free; 1 user on it
        ! 4 slots are missing, but 3 of at most 3 instances are live (max_instances)",
    );
}

#[test]
fn a_stopped_machine_serves_nobody_and_is_ended() {
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
    let asked = plan
        .steps
        .iter()
        .filter(|step| matches!(step.action, Action::Terminate { ask_ec2: true, .. }));
    assert_eq!(asked.count(), 2, "{plan}");
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
fn a_missing_instance_is_removed_only_when_missed_for_long_and_unknown_and_silent() {
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
fn what_sends_heartbeats_or_is_known_by_id_is_not_removed_for_being_missing() {
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
fn silence_counts_only_while_somebody_could_have_heard_it() {
    // The database was down for an hour: nobody is to blame, and the buffer is not launched anew.
    let mut snapshot = snapshot([
        silent("i-1", 3600),
        silent("i-2", 3600),
        booting("i-3", 3600),
    ]);
    snapshot.watched_since = at(-5);
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 2, waiting 0, occupied 0, live 3 of 10
        · free 4 and starting 2 meet the target of 4",
    );
}

#[test]
fn agents_that_fall_silent_one_by_one_are_not_given_up_one_by_one() {
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

    // And they come back one by one.
    for id in ["i-2", "i-3", "i-4"] {
        let back = snapshot.instances.get_mut(&id.into()).unwrap();
        (back.beat_at, back.resumed_at) = (Some(NOW), Some(at(-3)));
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
fn an_instance_is_replaced_before_its_agents_token_ends() {
    let old = |id: &str, users| Instance {
        launched_at: at(-28 * 86_400),
        ..occupied(id, users)
    };
    let mut snapshot = snapshot([old("i-1", 0), old("i-2", 0), old("i-3", 1), instance("i-4")]);
    assert_plan(
        &snapshot,
        "target 4, free 2, starting 0, waiting 0, occupied 1, live 4 of 10
        - launch from ami-1: 1 x c5.large in subnet-a, or 1 x c5.large in subnet-b: free 2 and starting 0 are below target 4 + waiting 0
        ! i-3: 672 h old: its agent token expires soon (AGENT_TOKEN_DAYS); 1 user on it",
    );
    snapshot.settings.target_free = 2;
    assert_plan(
        &snapshot,
        "target 2, free 2, starting 0, waiting 0, occupied 1, live 4 of 10
        - drain i-1: 672 h old: its agent token expires soon (AGENT_TOKEN_DAYS); 0 users on it
        · free 2 and starting 0 meet the target of 2
        ! i-3: 672 h old: its agent token expires soon (AGENT_TOKEN_DAYS); 1 user on it",
    );
}

#[test]
fn an_image_without_a_row_is_no_retired_image() {
    let mut snapshot = snapshot([instance("i-1"), instance("i-2")]);
    snapshot.images = vec![image("ami-9", ImageState::Current)];
    snapshot.settings.target_free = 0;
    assert_plan(
        &snapshot,
        "target 0, free 0, starting 0, waiting 0, occupied 0, live 2 of 10
        · free 0 and starting 0 meet the target of 0
        ! i-1: image ami-1 has no row in table `images`: the instance is kept, and not counted as free
        ! i-2: image ami-1 has no row in table `images`: the instance is kept, and not counted as free",
    );
}

#[test]
fn what_is_on_its_way_out_is_not_drained_for_twice() {
    let mut snapshot = snapshot([draining("i-1", 5), instance("i-2"), instance("i-3")]);
    snapshot.settings.max_instances = 2;
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 0, waiting 0, occupied 0, live 3 of 2
        · free 4 and starting 0 meet the target of 4",
    );
}

#[test]
fn an_old_orphan_goes_a_young_one_and_one_of_an_open_launch_stay() {
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
fn an_empty_listing_removes_nothing() {
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
fn a_retired_image_goes_as_it_empties_and_a_warming_one_is_protected() {
    let on = |id: &str, image: &str, users| Instance {
        image_id: image.into(),
        ..occupied(id, users)
    };
    let mut snapshot = snapshot([
        instance("i-1"),
        instance("i-2"),
        on("i-3", "ami-0", 0),
        on("i-4", "ami-0", 1),
        on("i-5", "ami-2", 0),
    ]);
    snapshot.images.push(image("ami-0", ImageState::Retired));
    snapshot.images.push(image("ami-2", ImageState::Warming));
    assert_plan(
        &snapshot,
        "target 4, free 4, starting 0, waiting 0, occupied 1, live 5 of 10
        ami-2 WARMING: demand 4, free 2, starting 0
        - launch from ami-2: 1 x c5.large in subnet-a, or 1 x c5.large in subnet-b: free 2 and starting 0 of this WARMING image are below target 4
        - drain i-3: image ami-0 is no longer served
        · upgrade to ami-2: free 2 of 4, starting 0
        · free 4 and starting 0 meet the target of 4
        · i-4: kept: 1 user on an image that is no longer served",
    );
}

#[test]
fn a_paused_region_is_left_as_it_is() {
    let mut snapshot = snapshot([draining("i-1", 9000)]);
    snapshot.settings.paused = true;
    assert_plan(
        &snapshot,
        "target 4, free 0, starting 0, waiting 0, occupied 0, live 1 of 10
        · the region is paused",
    );
}

#[test]
fn a_disabled_region_needs_no_buffer() {
    let mut snapshot = snapshot([instance("i-1"), occupied("i-2", 1)]);
    snapshot.settings.enabled = false;
    assert_plan(
        &snapshot,
        "target 0, free 3, starting 0, waiting 0, occupied 1, live 2 of 10
        - drain i-1: free 3 exceeds the target of 0 by a whole instance
        · free 3 and starting 0 meet the target of 0",
    );
}

#[test]
fn a_lowered_maximum_drains_what_is_empty_and_nothing_else() {
    let mut snapshot = snapshot([occupied("i-1", 1), instance("i-2"), occupied("i-3", 2)]);
    snapshot.settings.max_instances = 2;
    assert_plan(
        &snapshot,
        "target 4, free 3, starting 0, waiting 0, occupied 3, live 3 of 2
        - drain i-2: 3 live instances exceed the maximum of 2 (max_instances)
        ! 1 slots are missing, but 3 of at most 2 instances are live (max_instances)",
    );
}

#[test]
fn unclaimed_slots_are_given_back() {
    let slots = SlotCounts {
        waiting: 0,
        occupied: 2,
        unclaimed: 1,
    };
    let unclaimed = Instance {
        slots,
        ..instance("i-1")
    };
    assert_plan(
        &snapshot([unclaimed, instance("i-2"), instance("i-3")]),
        "target 4, free 4, starting 0, waiting 0, occupied 2, live 3 of 10
        - release 1 unclaimed: allocated, but nobody connected within claim_seconds
        · free 4 and starting 0 meet the target of 4",
    );
}

#[test]
fn a_young_row_that_ec2_does_not_list_yet_is_not_missing() {
    let mut snapshot = snapshot([booting("i-1", 59), booting("i-2", 59)]);
    snapshot.machines.clear();
    assert_plan(
        &snapshot,
        "target 4, free 0, starting 4, waiting 0, occupied 0, live 2 of 10
        · free 0 and starting 4 meet the target of 4",
    );
}

#[test]
fn time_does_not_run_backwards_into_a_removal() {
    // A heartbeat from the future (a host with a wrong clock cannot write one: the database's
    // own clock does; this is what a restored backup could show) is no reason to give it up.
    let early = Instance {
        beat_at: Some(NOW + SignedDuration::from_hours(5)),
        ..instance("i-1")
    };
    assert_plan(
        &snapshot([early, instance("i-2")]),
        "target 4, free 4, starting 0, waiting 0, occupied 0, live 2 of 10
        · free 4 and starting 0 meet the target of 4",
    );
}
