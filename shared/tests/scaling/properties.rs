//! Properties of the algorithm `default` that hold for every snapshot.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, prop_compose,
    prop_oneof, proptest,
};
use shared::ids::ImageId;
use shared::model::{
    DrainCause, EndCounts, ExpectedSlots, Image, ImageState, Instance, InstanceStatus, Line,
    Machine, MachineState, NextToken, SessionEnds, SlotCounts, Spending, SpotNotice, TerminateIf,
};
use shared::scaling::{
    Action, ImageCounts, Plan, Reason, Snapshot, TokenPolicy, algorithm, outlook,
};
use shared::settings::{Budget, Schedule, ScheduleKind};
use testing::{NOW, at, image, instance, machine, refusal, schedule, snapshot};

use crate::support::violations;

fn decide(snapshot: &Snapshot) -> Plan {
    algorithm("default").unwrap().decide(snapshot, NOW)
}

prop_compose! {
    fn any_instance(id: usize)(
        status in prop_oneof![
            4 => Just(InstanceStatus::Active),
            1 => Just(InstanceStatus::PreConnection),
            1 => Just(InstanceStatus::Draining),
            1 => Just(InstanceStatus::Terminating),
        ],
        capacity in 1u32..4,
        occupied in 0u32..4,
        unclaimed in 0u32..2,
        age in 0i64..2000,
        silence in prop_oneof![3 => 0i64..90, 1 => 90i64..2000],
        missing in prop::option::weighted(0.1, 0i64..1000),
        resumed in prop::option::weighted(0.1, 0i64..1000),
        notice in prop_oneof![
            8 => Just(None),
            1 => Just(Some(SpotNotice::Rebalance)),
            1 => Just(Some(SpotNotice::Interruption)),
        ],
        cause in prop_oneof![
            2 => Just(None),
            1 => Just(Some(DrainCause::Operator)),
            1 => Just(Some(DrainCause::MaxAge)),
        ],
        (due, overdue) in prop_oneof![3 => Just((0, 0)), 1 => (0u32..3, 0u32..5)],
        (quick, unclaimed_ends, live) in
            prop_oneof![3 => Just((0, 0, true)), 1 => (0u32..5, 0u32..5, any::<bool>())],
        image in prop_oneof![4 => Just("ami-1"), 1 => Just("ami-0"), 1 => Just("ami-2"), 1 => Just("ami-3")],
    ) -> Instance {
        let booting = status == InstanceStatus::PreConnection;
        let occupied = if booting { 0 } else { occupied.min(capacity) };
        Instance {
            status,
            capacity,
            image_id: image.into(),
            launched_at: at(-age),
            active_at: (!booting).then(|| at(-age)),
            draining_since: (status == InstanceStatus::Draining).then(|| at(-age)),
            drain_cause: cause.filter(|_| status == InstanceStatus::Draining),
            ends: EndCounts {
                due: due.min(occupied),
                overdue: overdue.min(occupied),
                dying: 0,
            },
            notice,
            resumed_at: resumed.map(|seconds| at(-seconds)),
            missing_since: missing.map(|seconds| at(-seconds)),
            beat_at: (!booting).then(|| at(-silence.min(age))),
            slots: SlotCounts {
                waiting: if booting { 0 } else { capacity - occupied },
                occupied,
                unclaimed: unclaimed.min(occupied),
            },
            sessions: SessionEnds {
                quick,
                unclaimed: unclaimed_ends,
                live,
            },
            ..instance(&format!("i-{id:03}"))
        }
    }
}

/// An instance's state in EC2's list: mostly running, sometimes not listed.
fn any_listing() -> impl Strategy<Value = Option<MachineState>> {
    prop_oneof![
        8 => Just(Some(MachineState::Running)),
        1 => Just(Some(MachineState::Pending)),
        1 => Just(Some(MachineState::Stopped)),
        1 => Just(Some(MachineState::ShuttingDown)),
        1 => Just(Some(MachineState::Terminated)),
        1 => Just(None),
    ]
}

/// Mostly a current image, one before it and one after it.
/// A budget that is set or not, that limits launches or not, and is spent or not.
fn any_budget() -> impl Strategy<Value = (Budget, Option<Spending>)> {
    let budget = (prop::option::weighted(0.4, 1u32..3), any::<bool>());
    let budget = budget.prop_map(|(monthly, limits_launches)| Budget {
        monthly,
        limits_launches,
    });
    let spending = (0.0f64..4.0, 0.0f64..2.0).prop_map(|(month, today)| Spending {
        currency: "USD".to_owned(),
        month,
        today,
        unpriced_seconds: 0.0,
        uncounted_hours: 0,
        until: at(1000),
    });
    (budget, prop::option::of(spending))
}

/// Schedules that begin or end about now, or later today.
fn any_schedules() -> impl Strategy<Value = Vec<Schedule>> {
    let kind = prop_oneof![Just(ScheduleKind::Floor), Just(ScheduleKind::Fixed)];
    let time = || prop_oneof![Just("11:59"), Just("12:00"), Just("12:05"), Just("13:00")];
    let any =
        (kind, 0u32..12, time(), time()).prop_filter_map("a time", |(kind, n, from, until)| {
            (from != until).then(|| schedule(i64::from(n), kind, n, (from, until)))
        });
    prop::collection::vec(any, 0..3)
}

fn any_images() -> impl Strategy<Value = Vec<Image>> {
    let before = prop_oneof![
        Just(ImageState::Retired),
        Just(ImageState::Failed),
        Just(ImageState::Baking),
    ];
    let now = prop_oneof![6 => Just(ImageState::Current), 1 => Just(ImageState::Retired)];
    let after = prop_oneof![
        3 => Just(ImageState::Warming),
        1 => Just(ImageState::Baking),
        1 => Just(ImageState::Failed),
    ];
    let age = || prop_oneof![4 => 0i64..1800, 1 => 1800i64..20_000];
    (before, age(), now, age(), after, age()).prop_map(|(s0, a0, s1, a1, s2, a2)| {
        [("ami-0", s0, a0), ("ami-1", s1, a1), ("ami-2", s2, a2)]
            .into_iter()
            .map(|(id, state, age)| Image {
                since: at(-age),
                ..image(id, state)
            })
            .collect()
    })
}

prop_compose! {
    fn any_snapshot()(size in 0usize..25)(
        instances in (0..size).map(any_instance).collect::<Vec<_>>(),
        listings in prop::collection::vec(any_listing(), size),
        orphans in prop::collection::vec(0i64..2000, 0..5),
        target in 0u32..12,
        max in 0u32..30,
        up in 0u32..4,
        down in 0u32..4,
        waiting in 0u32..4,
        enabled in prop::bool::weighted(0.9),
        paused in prop::bool::weighted(0.1),
        approved in prop::bool::weighted(0.2),
        watched in 0i64..5000,
        valid_for in prop_oneof![3 => Just(100_000i64), 1 => 1i64..4000],
        is_rotating in prop::bool::weighted(0.2),
        images in any_images(),
        app_sha in prop_oneof![
            Just(None),
            Just(Some("sha-of-ami-0")),
            Just(Some("sha-of-ami-1")),
            Just(Some("sha-of-ami-2")),
        ],
        surge in prop_oneof![3 => Just(0u32), 1 => 1u32..4],
        swap_when_warm in prop::bool::weighted(0.2),
        deadline in prop::option::weighted(0.3, 1i64..4000),
        max_age in prop::option::weighted(0.3, 700i64..4000),
        // Boxed: a test's stack has no room for all of them.
        schedules in any_schedules().boxed(),
        budget in any_budget().boxed(),
    ) -> Snapshot {
        let mut machines: BTreeMap<_, Machine> = BTreeMap::new();
        for (instance, listing) in instances.iter().zip(listings) {
            if let Some(state) = listing {
                machines.insert(instance.id.clone(), Machine { state, ..machine(instance) });
            }
        }
        for (n, age) in orphans.into_iter().enumerate() {
            let orphan = Instance { launched_at: at(-age), ..instance(&format!("i-orphan-{n}")) };
            machines.insert(orphan.id.clone(), machine(&orphan));
        }
        let mut snapshot = Snapshot { machines, ..snapshot(instances) };
        snapshot.unknown_to_ec2 = snapshot
            .instances
            .keys()
            .filter(|id| !snapshot.machines.contains_key(id))
            .cloned()
            .collect();
        snapshot.images = images;
        snapshot.app_sha = app_sha.map(Into::into);
        snapshot.settings.upgrades.surge = surge;
        snapshot.settings.upgrades.swap_when_warm = swap_when_warm;
        let seconds = SignedDuration::from_secs;
        snapshot.settings.endings.drain_deadline = deadline.map(seconds);
        snapshot.settings.endings.max_age = max_age.map(seconds);
        snapshot.settings.target_free = target;
        snapshot.settings.schedules = schedules;
        (snapshot.settings.budget, snapshot.spending) = budget;
        snapshot.settings.max_instances = max;
        snapshot.settings.scale_up_step = up;
        snapshot.settings.scale_down_step = down;
        snapshot.settings.enabled = enabled;
        snapshot.settings.paused = paused;
        snapshot.waiting = waiting;
        snapshot.mass_removal_approved = approved;
        snapshot.watched_since = at(-watched);
        snapshot.tokens = Some(TokenPolicy {
            key: "key-1".into(),
            is_rotating,
            valid_for: SignedDuration::from_secs(valid_for),
        });
        snapshot
    }
}

prop_compose! {
    /// A region with lines, and the number of instances that its pass launched.
    fn any_line()(
        snapshot in any_snapshot().boxed(),
        lines in prop::collection::btree_map(
            prop_oneof![Just("sha-of-ami-0"), Just("sha-of-ami-1"), Just("unknown")],
            (1u32..3000, 0u32..=20, 0i64..=300),
            0..3,
        ),
        launched in 0u32..10,
        rests in prop::option::of(0i64..500),
    ) -> (Snapshot, u32) {
        let mut snapshot = snapshot;
        let lines = lines.into_iter().map(|(sha, (users, session_ends, since))| Line {
            client_sha: sha.into(),
            users,
            session_ends,
            ends_since: at(-since),
        });
        snapshot.lines = lines.collect();
        if let Some(seconds) = rests {
            for subnet in ["subnet-a", "subnet-b"] {
                snapshot.refusals.push(refusal(false, "c5.large", subnet, at(seconds)));
            }
        }
        (snapshot, launched)
    }
}

/// The first time at which a forecast has this many slots.
fn time_of(steps: &[ExpectedSlots], slots: u32) -> Timestamp {
    let step = steps.iter().find(|step| step.slots >= slots);
    step.map_or(Timestamp::MAX, |step| step.at)
}

/// The snapshot after a plan was executed completely: launched instances are up, drained ones have
/// shut themselves down, terminated ones are gone, and EC2's list shows all of it.
fn executed(mut snapshot: Snapshot, plan: &Plan, round: usize) -> Snapshot {
    for step in &plan.steps {
        execute_action(&mut snapshot, &step.action, round);
    }
    snapshot.unknown_to_ec2 = snapshot
        .instances
        .keys()
        .filter(|id| !snapshot.machines.contains_key(id))
        .cloned()
        .collect();
    snapshot
}

fn execute_action(snapshot: &mut Snapshot, action: &Action, round: usize) {
    match action {
        Action::NoteMissing { instance } => {
            snapshot.instances.get_mut(instance).unwrap().missing_since =
                Some(NOW - SignedDuration::from_mins(5));
        }
        Action::NotePresent { instance } => {
            snapshot.instances.get_mut(instance).unwrap().missing_since = None;
        }
        Action::NoteAddresses { addresses } => {
            let row = snapshot.instances.get_mut(&addresses.id).unwrap();
            row.private_ip = addresses.private_ip;
            row.public_ip = addresses.public_ip;
        }
        Action::Terminate { instance, .. } => {
            if let Some(row) = snapshot.instances.get_mut(instance) {
                row.status = InstanceStatus::Terminating;
            }
            if let Some(machine) = snapshot.machines.get_mut(instance) {
                machine.state = MachineState::Terminated;
            }
        }
        Action::TerminateOrphan { orphan } => {
            let machine = snapshot.machines.get_mut(&orphan.id).unwrap();
            machine.state = MachineState::Terminated;
            let row = Instance {
                status: InstanceStatus::Terminating,
                slots: SlotCounts::default(),
                ..instance(orphan.id.as_str())
            };
            snapshot.instances.insert(orphan.id.clone(), row);
        }
        Action::Remove { instance } => {
            snapshot.instances.remove(instance);
        }
        Action::RenewToken { instance, .. } => {
            let policy = snapshot.tokens.clone().unwrap();
            let row = snapshot.instances.get_mut(instance).unwrap();
            row.token = Some(NextToken {
                key: policy.key,
                valid_until: NOW + policy.valid_for,
                untaken_since: None,
            });
        }
        Action::MarkEnds { .. } => {
            for row in snapshot.instances.values_mut() {
                row.ends.due = 0;
            }
        }
        Action::ReleaseUnclaimed { .. } => {
            for row in snapshot.instances.values_mut() {
                row.slots.occupied -= row.slots.unclaimed;
                row.slots.waiting += row.slots.unclaimed;
                row.slots.unclaimed = 0;
            }
        }
        Action::Drain { instance, cause } => {
            let row = snapshot.instances.get_mut(instance).unwrap();
            row.status = InstanceStatus::Draining;
            row.draining_since = Some(NOW);
            row.drain_cause = Some(*cause);
            row.slots.waiting = 0;
            if let Some(machine) = snapshot.machines.get_mut(instance) {
                machine.state = MachineState::Terminated;
            }
        }
        Action::Launch { image, options, .. } => {
            for n in 0..options[0].count {
                let id = format!("i-new-{image}-{round}-{n}");
                let new = Instance {
                    image_id: image.clone(),
                    launched_at: NOW,
                    ..instance(&id)
                };
                snapshot.machines.insert(new.id.clone(), machine(&new));
                snapshot.instances.insert(new.id.clone(), new);
            }
        }
        Action::MoveImage { image, to, .. } => {
            for row in &mut snapshot.images {
                let next = match row.state {
                    _ if row.id == *image => *to,
                    ImageState::Current if *to == ImageState::Current => ImageState::Baking,
                    state => state,
                };
                if next != row.state {
                    (row.state, row.since) = (next, NOW);
                }
            }
        }
        Action::Reopen { instance } => {
            let row = snapshot.instances.get_mut(instance).unwrap();
            row.status = InstanceStatus::Active;
            row.draining_since = None;
            row.drain_cause = None;
        }
        Action::RestPool { refusal } => {
            snapshot
                .refusals
                .retain(|known| known.key() != refusal.key());
            snapshot.refusals.push(refusal.clone());
        }
        Action::ForgetRest { refusal } => {
            snapshot
                .refusals
                .retain(|known| known.key() != refusal.key());
        }
        Action::ResumeLaunch { .. }
        | Action::DeleteReplica { .. }
        | Action::MoveAddress { .. }
        | Action::RememberUnknown { .. } => {}
    }
}

/// The number of instances launched from each image.
fn launches(plan: &Plan) -> BTreeMap<ImageId, u32> {
    let mut launches = BTreeMap::new();
    for step in &plan.steps {
        if let Action::Launch { image, options, .. } = &step.action {
            let most = options.iter().map(|option| option.count).max();
            *launches.entry(image.clone()).or_default() += most.unwrap_or(0);
        }
    }
    launches
}

/// The instances drained as surplus.
fn surplus<'s>(snapshot: &'s Snapshot, plan: &Plan) -> Vec<&'s Instance> {
    let steps = plan.steps.iter();
    steps
        .filter_map(|step| match (&step.action, &step.reason) {
            (Action::Drain { instance, .. }, Reason::Surplus { .. }) => {
                snapshot.instances.get(instance)
            }
            _ => None,
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// For every snapshot: no occupied instance is drained, no user of a living agent is cut off,
    /// the maximum holds, and a paused region has no steps.
    #[test]
    fn plan_breaks_no_invariant(snapshot in any_snapshot()) {
        let plan = decide(&snapshot);
        prop_assert_eq!(violations(&snapshot, &plan, NOW), vec![], "{}", plan);
    }

    #[test]
    fn plan_does_not_depend_on_the_order_of_rows(snapshot in any_snapshot()) {
        let mut reversed = snapshot.clone();
        reversed.images.reverse();
        prop_assert_eq!(decide(&snapshot), decide(&reversed));
    }

    /// Launching and draining for surplus exclude each other for each image, and steps bound both.
    #[test]
    fn buffer_is_filled_or_drained_but_not_both_and_within_steps(snapshot in any_snapshot()) {
        let plan = decide(&snapshot);
        let launches = launches(&plan);
        let drains = surplus(&snapshot, &plan);
        for image in launches.keys() {
            prop_assert!(!drains.iter().any(|row| row.image_id == *image), "{plan}");
        }
        let settings = &snapshot.settings;
        let launched: u32 = launches.values().sum();
        prop_assert!(settings.scale_up_step == 0 || launched <= settings.scale_up_step, "{plan}");
        let step = settings.scale_down_step as usize;
        prop_assert!(step == 0 || drains.len() <= step, "{plan}");
    }

    /// After the drains for surplus, the image's free slots still meet its demand.
    #[test]
    fn nothing_is_launched_beyond_a_budget_that_limits_launches(snapshot in any_snapshot()) {
        let plan = decide(&snapshot);
        let budget = snapshot.settings.budget;
        let spent = snapshot.spending.as_ref().map(|it| it.month);
        let is_spent = budget.monthly.zip(spent).is_some_and(|(most, spent)| spent >= most.into());
        let launches = plan.steps.iter().any(|it| matches!(it.action, Action::Launch { .. }));
        prop_assert!(!(budget.limits_launches && is_spent && launches), "{plan}");
    }

    #[test]
    fn surplus_drain_keeps_the_target(snapshot in any_snapshot()) {
        let plan = decide(&snapshot);
        let drains = surplus(&snapshot, &plan);
        for buffer in &plan.images {
            let drained: u32 = drains
                .iter()
                .filter(|row| row.image_id == buffer.image)
                .map(|row| row.slots.waiting)
                .sum();
            prop_assert!(drained == 0 || buffer.free >= buffer.demand + drained, "{plan}");
        }
    }

    /// A warming image's instances are launched only into room that no served image needs, and no
    /// instance of a served image is drained for them.
    #[test]
    fn upgrade_takes_no_room_from_users(snapshot in any_snapshot()) {
        let plan = decide(&snapshot);
        let launches = launches(&plan);
        let warms = |image: &ImageCounts| image.state == ImageState::Warming;
        let for_upgrade = plan.images.iter().any(|i| warms(i) && launches.contains_key(&i.image));
        // These snapshots have no refused capacity.
        for image in plan.images.iter().filter(|image| for_upgrade && !warms(image)) {
            let instances = launches.get(&image.image).copied().unwrap_or(0);
            let capacity = snapshot.settings.launch_choices[0].capacity;
            let coming = image.free + image.starting + instances * capacity;
            prop_assert!(coming >= image.demand, "{plan}");
        }
        for step in &plan.steps {
            if let Reason::MakesRoom { state } = step.reason {
                prop_assert!(state != ImageState::Current, "{plan}");
                prop_assert!(!for_upgrade, "{plan}");
            }
        }
    }

    /// At most one image becomes current per pass, and each image moves from its own state.
    #[test]
    fn at_most_one_image_becomes_current_per_pass(snapshot in any_snapshot()) {
        let plan = decide(&snapshot);
        let moves = || plan.steps.iter().filter_map(|step| match &step.action {
            Action::MoveImage { image, from, to } => Some((image, *from, *to)),
            _ => None,
        });
        prop_assert!(moves().filter(|(_, _, to)| *to == ImageState::Current).count() <= 1, "{plan}");
        for (image, from, _) in moves() {
            let row = snapshot.images.iter().find(|row| row.id == *image);
            prop_assert_eq!(row.map(|row| row.state), Some(from));
        }
    }

    /// A lowered maximum drains instances down to it, and not further.
    #[test]
    fn drains_over_maximum_do_not_exceed_the_excess(snapshot in any_snapshot()) {
        let plan = decide(&snapshot);
        let drained = plan.steps.iter().filter(|step| matches!(
            (&step.action, &step.reason), (Action::Drain { .. }, Reason::OverMaximum { .. })
        )).count();
        let over = plan.counts.live.saturating_sub(plan.counts.max);
        prop_assert!(drained <= over as usize, "{plan}");
    }

    /// If more instances are gone, orphaned or lost than the guard allows, none of them is removed.
    #[test]
    fn removals_stay_within_the_guard_unless_approved(snapshot in any_snapshot()) {
        let plan = decide(&snapshot);
        let removed = plan.steps.iter().filter(|step| match &step.action {
            Action::TerminateOrphan { .. } => true,
            Action::Terminate { instance, condition, .. } => {
                let row = &snapshot.instances[instance];
                // EC2 lists it as ended, and it never had a user.
                let never_served = row.status == InstanceStatus::PreConnection
                    && snapshot.machines.get(instance).is_some_and(|m| m.state.is_going());
                let expected_end = row.status == InstanceStatus::Draining
                    || never_served
                    || row.notice == Some(SpotNotice::Interruption);
                matches!(*condition, TerminateIf::Lost | TerminateIf::Missing)
                    || (*condition == TerminateIf::Gone && !expected_end)
            }
            _ => false,
        }).count();
        let allowed = 3.max(snapshot.instances.len() / 10);
        prop_assert!(removed <= allowed || snapshot.mass_removal_approved, "{removed}: {plan}");
    }

    /// If nothing else happens, the plan is empty after a bounded number of rounds.
    #[test]
    fn passes_converge_to_an_empty_plan(mut snapshot in any_snapshot()) {
        snapshot.settings.scale_up_step = 0;
        snapshot.settings.scale_down_step = 0;
        snapshot.mass_removal_approved = true;
        let mut plan = decide(&snapshot);
        // One expiring instance is replaced per pass: this takes longest.
        for round in 0..60 {
            if plan.is_empty() {
                break;
            }
            snapshot = executed(snapshot, &plan, round);
            plan = decide(&snapshot);
        }
        prop_assert!(plan.is_empty(), "still: {plan}");
    }

    #[test]
    fn forecast_is_bounded_and_increases((snapshot, launched) in any_line()) {
        let outlook = outlook(&snapshot, &decide(&snapshot), launched, NOW);
        let needs_none = snapshot.lines.is_empty() || !snapshot.settings.enabled;
        prop_assert!(outlook.is_some() || needs_none);
        let Some(outlook) = outlook else { return Ok(()) };
        for forecast in &outlook.forecasts {
            let steps = &forecast.steps;
            prop_assert!((1..=200).contains(&steps.len()));
            prop_assert!(steps.iter().all(|step| step.at > NOW && step.slots > 0));
            prop_assert!(steps.iter().all(|step| step.at <= NOW + SignedDuration::from_hours(1)));
            for pair in steps.windows(2) {
                prop_assert!(pair[0].at < pair[1].at && pair[0].slots < pair[1].slots);
            }
            let served = |image: &Image| image.state.is_served() && image.client_sha == forecast.client_sha;
            prop_assert!(snapshot.images.iter().any(served));
        }
        let until = outlook.no_capacity_until;
        prop_assert!(until.is_none_or(|until| until > NOW && until <= at(120)));
        prop_assert!(until.is_none() || !snapshot.lines.is_empty());
    }

    #[test]
    fn nothing_is_expected_where_nothing_starts_and_no_session_ends((snapshot, _) in any_line()) {
        let mut snapshot = snapshot;
        snapshot.instances.retain(|_, it| it.status != InstanceStatus::PreConnection);
        for line in &mut snapshot.lines {
            line.session_ends = 0;
        }
        let outlook = outlook(&snapshot, &decide(&snapshot), 0, NOW);
        prop_assert!(outlook.is_none_or(|outlook| outlook.forecasts.is_empty()));
    }

    #[test]
    fn more_ends_and_launches_make_no_place_later(
        (snapshot, launched) in any_line(),
        place in 1u32..300,
    ) {
        let plan = decide(&snapshot);
        let mut better = snapshot.clone();
        for line in &mut better.lines {
            line.session_ends += 1;
        }
        let (Some(worse), Some(better)) = (
            outlook(&snapshot, &plan, launched, NOW),
            outlook(&better, &plan, launched + 1, NOW),
        ) else {
            return Ok(());
        };
        for forecast in &worse.forecasts {
            let mut others = better.forecasts.iter();
            let other = others.find(|it| it.client_sha == forecast.client_sha).unwrap();
            // A step of the better forecast may stand for 5 % more places.
            let finer = place - place / 20;
            prop_assert!(time_of(&other.steps, finer) <= time_of(&forecast.steps, place));
        }
    }
}
