//! The algorithm `adaptive`: golden plans, and the bounds within which any input moves its target.

use jiff::SignedDuration;
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};
use shared::model::{Boot, FLOW_STEPS, Flow, Instance};
use shared::scaling::{Plan, Reason, Snapshot, algorithm};
use shared::settings::{ADAPTIVE, RegionSettings, ScheduleKind};
use testing::{NOW, at, instance, schedule, settings, snapshot};

use crate::support::{assert_plan, occupied, violations};

/// A region of `adaptive` with a floor of 2 and room for many instances.
fn adaptive(instances: impl IntoIterator<Item = Instance>, flow: Flow) -> Snapshot {
    Snapshot {
        settings: RegionSettings {
            algorithm: ADAPTIVE.to_owned(),
            target_free: 2,
            max_instances: 100,
            ..settings()
        },
        flow: Some(flow),
        ..snapshot(instances)
    }
}

/// As many users as sessions that end, at the first safety factor.
fn flow(arrivals: [u32; FLOW_STEPS], ends: u32) -> Flow {
    Flow {
        arrivals: arrivals.to_vec(),
        ends,
        safety_millionths: 3_000_000,
        boots: vec![],
    }
}

/// An instance that took 60 seconds to boot.
fn booted(id: &str) -> Instance {
    Instance {
        active_at: Some(at(-3540)),
        ..instance(id)
    }
}

fn boot(seconds: i64) -> Boot {
    Boot {
        launched_at: at(-600),
        active_at: at(-600 + seconds),
        instance_type: "c5.large".to_owned(),
        spot: Some(false),
    }
}

fn target(snapshot: &Snapshot) -> u32 {
    decide(snapshot).counts.target
}

fn decide(snapshot: &Snapshot) -> Plan {
    let plan = algorithm(ADAPTIVE).unwrap().decide(snapshot, NOW);
    assert_eq!(violations(snapshot, &plan, NOW), []);
    plan
}

#[test]
fn region_without_history_keeps_its_floor_and_says_so() {
    assert_plan(
        &adaptive([], Flow::default()),
        "target 2, free 0, starting 0, waiting 0, occupied 0, live 0 of 100
        - launch from ami-1: 1 x c5.large in subnet-a, or 1 x c5.large in subnet-b: free 0 and starting 0 are below target 2 + waiting 0
        · target 2, the floor (target_free): nobody came lately, or no boot has been measured yet",
    );
    let no_boot = adaptive([], flow([10; FLOW_STEPS], 150));
    assert_eq!(target(&no_boot), 2);
}

#[test]
fn target_covers_the_net_need_and_its_spread_until_a_new_slot_is_there() {
    let users = Instance {
        active_at: booted("i-2").active_at,
        ..occupied("i-2", 2)
    };
    // 10 users a minute are 12.5 in 75 s, and 75 ends in 15 minutes 6.25. Of those 6.25, 1.25 are chance:
    // the root of 225 in 15 minutes. 5, and 3 x root of 18.75.
    assert_plan(
        &adaptive([booted("i-1"), users], flow([10; FLOW_STEPS], 75)),
        "target 18, free 2, starting 0, waiting 0, occupied 2, live 2 of 100
        - launch from ami-1: 8 x c5.large in subnet-a, or 8 x c5.large in subnet-b: free 2 and starting 0 are below target 18 + waiting 0
        · target 18: in the 75 s that a new slot takes, 12.5 users arrive and 6.3 sessions end; spread 4.3 x 3.0; goal 0.1 % (stock_out_goal)",
    );
}

#[test]
fn surplus_is_drained_at_once_as_far_as_the_rule_says() {
    let idle: Vec<_> = (1..=9).map(|n| booted(&format!("i-{n}"))).collect();
    let mut quiet = adaptive(idle, flow([1; FLOW_STEPS], 15));
    // The columns' default is no bound here.
    quiet.settings.scale_down_step = 1;
    // 1.25 users and 1.25 ends in 75 s: 3 x root of 2.5.
    let plan = decide(&quiet);
    assert_eq!((plan.counts.target, plan.counts.free), (5, 18));
    assert_eq!(plan.steps.len(), 6);
    quiet.settings.scale_down_step = 2;
    assert_eq!(decide(&quiet).steps.len(), 2);
}

#[test]
fn users_in_line_are_demand_on_top() {
    let mut region = adaptive([booted("i-1")], flow([1; FLOW_STEPS], 15));
    region.waiting = 5;
    let plan = decide(&region);
    assert_eq!(plan.images[0].demand, plan.counts.target + 5);
}

#[test]
fn burst_counts_from_its_first_minute_and_goes_on_rising() {
    let with = |last, before| {
        let mut arrivals = [10; FLOW_STEPS];
        (arrivals[0], arrivals[1]) = (last, before);
        target(&adaptive([booted("i-1")], flow(arrivals, 150)))
    };
    let quiet = with(10, 10);
    assert!(with(20, 10) < quiet + 10, "that is noise");
    let steady = with(60, 60);
    assert!(steady > quiet + 60, "{steady}");
    assert!(with(60, 10) > steady, "it has only begun");
    assert!(with(0, 60) < quiet, "it is over");
}

#[test]
fn ceiling_bounds_the_target_and_the_floor_holds_above_it() {
    let mut region = adaptive([booted("i-1")], flow([1000; FLOW_STEPS], 0));
    region.settings.target_ceiling = Some(40);
    assert_eq!(target(&region), 40);
    region.settings.target_free = 50;
    assert_eq!(target(&region), 50);
}

#[test]
fn schedule_raises_the_floor_and_a_fixed_one_replaces_what_is_sized() {
    let with = |kind, slots| {
        let mut region = adaptive([booted("i-1")], flow([10; FLOW_STEPS], 75));
        region.settings.schedules = vec![schedule(1, kind, slots, ("00:00", "00:00"))];
        target(&region)
    };
    assert_eq!(with(ScheduleKind::Floor, 17), 18);
    assert_eq!(with(ScheduleKind::Floor, 30), 30);
    assert_eq!(with(ScheduleKind::Fixed, 5), 5);
    assert_eq!(with(ScheduleKind::Fixed, 30), 30);
}

#[test]
fn one_boot_of_an_hour_changes_nothing() {
    let mut usual = flow([10; FLOW_STEPS], 150);
    usual.boots = vec![boot(60); 5];
    let mut with_long = usual.clone();
    with_long.boots.push(boot(3600));
    let targets = [usual, with_long].map(|flow| target(&adaptive([], flow)));
    assert_eq!(targets[0], targets[1]);
}

#[test]
fn boots_of_the_preferred_choice_count_where_there_are_some() {
    let mut mixed = flow([10; FLOW_STEPS], 150);
    let slow = Boot {
        instance_type: "m5.large".to_owned(),
        ..boot(500)
    };
    mixed.boots = vec![slow; 9];
    let of_others = target(&adaptive([], mixed.clone()));
    mixed.boots.push(boot(60));
    let of_its_own = target(&adaptive([], mixed));
    assert!(of_its_own < of_others, "{of_its_own} {of_others}");
}

#[test]
fn disabled_region_needs_nothing() {
    let mut region = adaptive([], flow([10; FLOW_STEPS], 150));
    region.settings.enabled = false;
    assert_eq!(target(&region), 0);
}

fn any_flow() -> impl Strategy<Value = Flow> {
    let boots = prop::collection::vec(
        (any::<i32>(), any::<i32>()).prop_map(|(launched, active)| Boot {
            launched_at: at(launched.into()),
            active_at: at(active.into()),
            instance_type: "c5.large".to_owned(),
            spot: None,
        }),
        0..4,
    );
    let arrivals = prop::collection::vec(any::<u32>(), 0..=FLOW_STEPS);
    let rest = (any::<u32>(), any::<i64>());
    (arrivals, boots, rest).prop_map(|(arrivals, boots, (ends, safety_millionths))| Flow {
        arrivals,
        ends,
        safety_millionths,
        boots,
    })
}

proptest! {
    /// Clock steps, factors out of bounds, boots that end before they begin.
    #[test]
    fn any_input_moves_the_target_within_its_bounds_only(
        flow in any_flow(), floor in 0u32..100, ceiling in 0u32..1000,
    ) {
        let mut region = adaptive([booted("i-1")], flow);
        region.settings.target_free = floor;
        region.settings.target_ceiling = Some(ceiling);
        let target = target(&region);
        prop_assert!(floor <= target && target <= floor.max(ceiling));
    }

    /// No number of users makes the target exceed what arrives and ends until slots are there, by more than
    /// the greatest safety factor.
    #[test]
    fn target_is_bounded_by_what_was_counted(
        arrivals in prop::array::uniform15(0u32..2000), ends in 0u32..30_000,
        safety in 0i64..20_000_000,
    ) {
        let mut counted = flow(arrivals, ends);
        counted.safety_millionths = safety;
        let region = adaptive([booted("i-1")], counted);
        let most = f64::from(*arrivals.iter().max().unwrap());
        // 75 s are less than one and a half minutes, and a rise goes on for as many minutes again at most.
        let arrive = 1.5 * (most + 1.25 * most);
        let spread = (arrive + f64::from(ends) / 10.0).sqrt();
        prop_assert!(f64::from(target(&region)) <= 2.0_f64.max(arrive + 12.0 * spread + 1.0));
    }

    /// Whatever the flow, everything but the target is decided as `default` decides it.
    #[test]
    fn plan_is_that_of_a_fixed_buffer_of_the_same_size(
        users in prop::array::uniform15(0u32..30), ends in 0u32..450,
        occupied_slots in prop::collection::vec(0u32..=2, 1..20), waiting in 0u32..5,
    ) {
        let instances = occupied_slots.iter().enumerate();
        let instances = instances.map(|(n, users)| occupied(&format!("i-{n:02}"), *users));
        let mut region = adaptive(instances, flow(users, ends));
        region.waiting = waiting;
        let sized = decide(&region);
        region.settings.algorithm = "default".to_owned();
        region.settings.target_free = sized.counts.target;
        let fixed = algorithm("default").unwrap().decide(&region, NOW);
        prop_assert_eq!(sized.counts, fixed.counts);
        prop_assert_eq!(sized.steps, fixed.steps);
    }
}

#[test]
fn reason_is_stored_with_its_numbers() {
    let region = adaptive([booted("i-1")], flow([10; FLOW_STEPS], 75));
    let plan = decide(&region);
    let reason = &plan.notes[0].reason;
    assert_eq!(reason.name(), "target_sized");
    let expected = Reason::TargetSized {
        target: 18,
        seconds: 75,
        arrivals_tenths: 125,
        ends_tenths: 63,
        spread_tenths: 43,
        safety_tenths: 30,
        goal: 1000,
    };
    assert_eq!(*reason, expected);
    assert_eq!(boot(60).lasted(), SignedDuration::from_secs(60));
}
