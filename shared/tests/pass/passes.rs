//! Passes of the algorithm `default`: launches, removals, the lock, the fence and wake marks.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;
use shared::clock::Clock as _;
use shared::db::{Fence, InstanceDatabase as _, WriteOutcome};
use shared::host::HostErrorKind;
use shared::ids::Owner;
use shared::lock::{LockAttempt, LockError, RegionLock as _};
use shared::model::{
    DrainCause, Instance, InstanceStatus, LaunchRequest, MachineState, Refusal, SlotCounts,
};
use shared::pass::{PassLimits, PassRequest};
use shared::report::PassOutcome;
use shared::scaling::decide;
use shared::settings::{LaunchChoice, RegionSettings, Selector};
use shared::trigger::Trigger;
use testing::{NOW, SlotStatus, World, at, instance, machine};

fn request(trigger: Trigger) -> PassRequest {
    PassRequest {
        trigger,
        id: "test".to_owned(),
        began: NOW,
        approve_mass_removal: false,
    }
}

fn rows(world: &World, status: InstanceStatus) -> usize {
    world
        .database
        .rows()
        .tables
        .instances
        .values()
        .filter(|row| row.status == status)
        .count()
}

fn fence(world: &World) -> i64 {
    world.database.rows().tables.fences[&World::region()].version
}

#[tokio::test]
async fn empty_region_is_filled_and_the_next_pass_does_nothing() {
    let world = World::with([]);
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Done, "{report:?}");
    assert_eq!(rows(&world, InstanceStatus::PreConnection), 2);
    assert!(world.items().open.is_empty(), "the intent is closed");
    let outcomes: Vec<_> = world
        .items()
        .closed
        .into_iter()
        .map(|it| it.outcome)
        .collect();
    assert_eq!(outcomes, ["1 of 1 launched"; 2]);
    assert_eq!(world.items().decisions[&1].outcome, PassOutcome::Done);

    let report = world.pass().await;
    assert!(report.plan.unwrap().is_empty());
    assert_eq!(world.host.state().launches.len(), 2);
}

#[tokio::test]
async fn launch_request_limits_the_metadata_service_to_one_hop() {
    let world = World::with([]);
    world.pass().await;
    let launches = world.host.state().launches.clone();
    assert_eq!(launches[0].1.imds_hop_limit, Some(1));
}

#[tokio::test]
async fn dry_run_shows_the_plan_of_the_next_pass_and_changes_nothing() {
    let world = World::with([instance("i-1")]);
    let dry = world
        .reconciler()
        .dry_run(&World::region(), &request(Trigger::ByHand))
        .await;
    assert_eq!(dry.outcome, PassOutcome::DryRun);
    assert_eq!(world.items().lock, None);
    assert_eq!(*world.store.items().calls, ["region_state"]);
    assert_eq!(*world.database.rows().calls, ["observe"]);
    assert_eq!(dry.plan, world.pass().await.plan);
}

#[tokio::test]
async fn quiet_scheduled_pass_makes_one_graphql_and_five_dynamodb_requests() {
    let world = World::with([instance("i-1"), instance("i-2")]);
    world
        .reconciler()
        .run(&World::region(), &request(Trigger::Schedule))
        .await;
    assert_eq!(*world.database.rows().calls, ["begin_pass"]);
    assert_eq!(
        *world.store.items().calls,
        [
            "acquire",
            "region_state",
            "record_decision",
            "release",
            "has_wake_mark"
        ]
    );
}

/// EC2's event has usually said it before.
#[tokio::test]
async fn pass_notes_once_that_an_instance_runs_which_has_not_registered() {
    let booting = |id: &str| Instance {
        status: InstanceStatus::PreConnection,
        launched_at: NOW,
        active_at: None,
        beat_at: None,
        slots: SlotCounts::default(),
        ..instance(id)
    };
    let told = Instance {
        running_at: Some(at(-1)),
        ..booting("i-2")
    };
    let world = World::with([booting("i-1"), told]);
    world.pass().await;
    world.pass().await;
    let calls = world.database.rows().calls.clone();
    let written = calls.iter().filter(|call| **call != "begin_pass");
    assert_eq!(written.collect::<Vec<_>>(), [&"note_running"]);
    let tables = &world.database.rows().tables;
    let running_at = |id: &str| tables.instances[&id.into()].running_at;
    assert_eq!(running_at("i-1"), Some(NOW));
    assert_eq!(running_at("i-2"), Some(at(-1)));
}

#[tokio::test]
async fn lost_launch_answer_is_resumed_with_the_same_token_and_launches_once() {
    let world = World::with([]);
    world.host.state().lose_next_launch = true;
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Incomplete);
    let recorded = world.items().decisions[&1].outcome.clone();
    assert_eq!(recorded, PassOutcome::Incomplete, "and it is recorded");
    assert_eq!(world.items().open.len(), 1, "the intent stays open");

    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Done, "{report:?}");
    assert_eq!(world.host.state().ec2.machines.len(), 2, "launched once");
    assert_eq!(rows(&world, InstanceStatus::PreConnection), 2);
    let launches = world.host.state().launches.clone();
    assert_eq!(launches.len(), 3);
    assert_eq!(
        launches[0], launches[2],
        "the same token and the same request"
    );
}

#[tokio::test]
async fn rows_that_failed_to_write_are_written_by_the_next_pass() {
    let world = World::with([]);
    world.database.rows().lose_next_answer = true;
    world.pass().await;
    assert_eq!(world.items().open.len(), 2);
    world.pass().await;
    assert!(world.items().open.is_empty());
    assert_eq!(rows(&world, InstanceStatus::PreConnection), 2);
    assert_eq!(world.host.state().ec2.machines.len(), 2);
}

#[tokio::test]
async fn launch_without_capacity_tries_the_next_choice_under_new_intents() {
    let world = World::with([]);
    let full = [HostErrorKind::Capacity; 2];
    world.host.state().refuse_launches.extend(full);
    world.pass().await;
    let launches = world.host.state().launches.clone();
    assert_eq!(launches.len(), 4);
    let tokens: BTreeSet<_> = launches.iter().map(|(token, _)| token).collect();
    assert_eq!(tokens.len(), 4, "a token of its own");
    assert_eq!(launches[2].1.subnet_id, "subnet-b");
    assert_eq!(rows(&world, InstanceStatus::PreConnection), 2);
    let items = world.items();
    assert_eq!(
        items.refusals.keys().collect::<Vec<_>>(),
        ["c5.large#subnet-a"]
    );
    assert_eq!(items.closed[0].outcome, "no capacity");
}

/// Changes the region's settings.
fn set(world: &World, change: impl FnOnce(&mut RegionSettings)) {
    let mut rows = world.database.rows();
    change(rows.tables.settings_mut(&World::region()).unwrap());
}

#[tokio::test]
async fn spot_without_capacity_falls_back_to_on_demand_until_the_refusal_expires() {
    let world = World::with([]);
    set(&world, |settings| {
        let on_demand = settings.launch_choices.swap_remove(0);
        // By tag: the executor, not the plan, leaves out the refused subnets.
        let spot = LaunchChoice {
            spot: true,
            subnet: Selector::Tag {
                key: "Name".to_owned(),
                value: "subnet".to_owned(),
            },
            ..on_demand.clone()
        };
        settings.launch_choices = vec![spot, on_demand];
    });
    let requested = || -> Vec<_> {
        let launches = world.host.state().launches.clone();
        let choice = |request: &LaunchRequest| (request.spot, request.subnet_id.clone());
        launches
            .iter()
            .map(|(_, request)| choice(request))
            .collect()
    };
    let [spot_1, spot_2] = ["subnet-1", "subnet-2"].map(|subnet| (true, subnet.to_owned()));
    let on_demand = (false, "subnet-a".to_owned());

    let full = [HostErrorKind::Capacity; 4];
    world.host.state().refuse_launches.extend(full);
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Done, "{report:?}");
    let each = [&spot_1, &spot_2, &on_demand];
    assert_eq!(
        requested(),
        each.map(|choice| [choice; 2])
            .concat()
            .into_iter()
            .cloned()
            .collect::<Vec<_>>()
    );
    assert_eq!(
        report.results[0].step,
        "launch 2 x spot c5.large in subnet-1"
    );
    assert_eq!(
        world.items().refusals.keys().collect::<Vec<_>>(),
        ["spot#c5.large#subnet-1", "spot#c5.large#subnet-2"]
    );

    set(&world, |settings| settings.target_free = 6);
    world.pass().await;
    assert_eq!(requested()[6..], [on_demand]);

    world.clock.advance(Refusal::FIRST_REST);
    set(&world, |settings| settings.target_free = 8);
    world.pass().await;
    assert_eq!(requested()[7..], [spot_1]);
}

#[tokio::test]
async fn launch_with_unclear_answer_tries_no_other_choice() {
    let world = World::with([instance("i-1")]);
    world
        .host
        .state()
        .refuse_launches
        .push_back(HostErrorKind::Unclear);
    world.pass().await;
    assert_eq!(world.host.state().launches.len(), 1);
    assert_eq!(world.items().open.len(), 1);
}

#[tokio::test]
async fn launch_terminated_before_resume_is_looked_up_and_replaced() {
    let world = World::with([]);
    world.host.state().lose_next_launch = true;
    world.pass().await;
    let ids: Vec<_> = world.host.state().ec2.machines.keys().cloned().collect();
    for id in &ids {
        world.host.set_state(id, MachineState::Terminated);
    }
    world.pass().await;
    assert!(world.items().open.is_empty());
    assert_eq!(world.items().closed[1].outcome, "0 of 1 launched");
    world.pass().await;
    assert_eq!(rows(&world, InstanceStatus::PreConnection), 2);
    assert_eq!(world.host.state().ec2.machines.len(), 4);
}

#[tokio::test]
async fn unlisted_launch_stays_open_when_its_resume_is_denied() {
    let world = World::with([]);
    world.host.state().lose_next_launch = true;
    world.pass().await;
    world.host.state().ec2.delays.listing_lag = SignedDuration::from_secs(50);
    world
        .host
        .state()
        .refuse_launches
        .push_back(HostErrorKind::Denied);
    world.clock.advance(SignedDuration::from_secs(20));
    world.pass().await;
    assert_eq!(world.items().open.len(), 1, "EC2 may list it later");

    world.clock.advance(SignedDuration::from_secs(60));
    world.pass().await;
    assert!(world.items().open.is_empty());
    assert_eq!(rows(&world, InstanceStatus::PreConnection), 2);
}

#[tokio::test]
async fn launch_denied_on_its_first_request_is_closed() {
    let world = World::with([instance("i-1")]);
    world
        .host
        .state()
        .refuse_launches
        .push_back(HostErrorKind::Denied);
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Incomplete);
    assert!(world.items().open.is_empty());
    assert_eq!(world.items().closed[0].outcome, "refused: Denied");
    assert_eq!(
        world.host.state().launches.len(),
        1,
        "nor requested elsewhere"
    );
}

#[tokio::test]
async fn intent_older_than_twelve_hours_is_never_launched_again() {
    let world = World::with([instance("i-1")]);
    world
        .host
        .state()
        .refuse_launches
        .push_back(HostErrorKind::Unclear);
    world.pass().await;
    world.clock.advance(SignedDuration::from_hours(13));
    world.pass().await;
    assert!(world.items().open.is_empty());
    let tokens: Vec<_> = world
        .host
        .state()
        .launches
        .iter()
        .map(|(token, _)| token.clone())
        .collect();
    assert_eq!(tokens.len(), 2, "the second is a new launch");
    assert_ne!(tokens[0], tokens[1]);
}

#[tokio::test]
async fn failed_listing_ends_the_pass_before_the_decision() {
    let world = World::with([instance("i-1")]);
    world.host.state().fail_next_list = true;
    let report = world.pass().await;
    assert!(
        matches!(report.outcome, PassOutcome::Failed { .. }),
        "{report:?}"
    );
    assert!(report.plan.is_none());
    assert!(world.host.state().launches.is_empty());
    assert!(
        world.alerts.all()[0].contains("list machines"),
        "{:?}",
        world.alerts.all()
    );
    let next = world.pass().await;
    assert_eq!(next.outcome, PassOutcome::Done, "the lock was released");
}

#[tokio::test]
async fn held_lock_leaves_the_wake_mark_for_the_next_pass() {
    let world = World::with([]);
    let held = world
        .store
        .acquire(
            &World::region(),
            &Owner::random(),
            world.clock.now(),
            Duration::from_secs(50),
        )
        .await
        .unwrap();
    let report = world.pass().await;
    assert!(matches!(report.outcome, PassOutcome::Busy { .. }));
    assert!(world.items().wake_mark.is_some(), "the mark is durable");
    let LockAttempt::Acquired(lease) = held else {
        panic!("{held:?}")
    };
    world.store.release(&lease).await.unwrap();
    assert_eq!(world.pass().await.outcome, PassOutcome::Done);
    assert!(world.items().wake_mark.is_none());
}

#[tokio::test]
async fn expired_lease_is_taken_over_with_the_next_version() {
    let world = World::with([]);
    let region = World::region();
    let lease = Duration::from_secs(50);
    world
        .store
        .acquire(&region, &Owner::random(), world.clock.now(), lease)
        .await
        .unwrap();
    world.clock.advance(SignedDuration::from_secs(51));
    let report = world.pass().await;
    assert!(
        matches!(report.outcome, PassOutcome::Busy { .. }),
        "within the margin for clocks"
    );
    world.clock.advance(SignedDuration::from_secs(2));
    assert_eq!(world.pass().await.outcome, PassOutcome::Done);
    assert_eq!(fence(&world), 2);
}

#[tokio::test]
async fn lost_answer_to_acquire_counts_as_acquired() {
    let world = World::with([]);
    world.store.items().lose_next_acquire = true;
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Done);
    assert_eq!(world.items().decisions.keys().collect::<Vec<_>>(), [&1]);
}

#[tokio::test]
async fn region_marked_again_gets_three_rounds_and_is_then_handed_over() {
    let world = World::with([instance("i-1"), instance("i-2")]);
    world.store.items().wake_again = 100;
    let report = world.pass().await;
    assert_eq!(report.rounds, 3);
    assert_eq!(world.handed_over.all(), ["us-east-1"]);
    assert!(
        world.items().wake_mark.is_some(),
        "the mark stays for the invocation that takes over"
    );
}

/// Its mark would wait for the schedule otherwise.
#[tokio::test]
async fn pass_without_time_to_observe_is_handed_over_once() {
    for (trigger, handed_over) in [
        (Trigger::ByHand, 1),
        (Trigger::HandOver, 0),
        (Trigger::Schedule, 0),
    ] {
        let world = World::with([instance("i-1"), instance("i-2")]);
        let late = PassRequest {
            // Of the lease's 50 seconds, less is left than a call to EC2 may take.
            began: NOW - SignedDuration::from_secs(45),
            ..request(trigger.clone())
        };
        let report = world.reconciler().run(&World::region(), &late).await;
        assert_eq!(world.handed_over.all().len(), handed_over, "{trigger:?}");
        let is_incomplete = report.outcome == PassOutcome::Incomplete;
        assert_eq!(is_incomplete, handed_over == 1, "{report:?}");
        assert_eq!(world.items().lock.unwrap().expires_at, 0, "released");
    }
}

#[tokio::test]
async fn failed_observation_is_not_repeated_for_a_new_mark() {
    let world = World::with([]);
    world.store.items().wake_again = 100;
    world.host.state().fail_next_list = true;
    let report = world.pass().await;
    assert_eq!(report.rounds, 1);
    assert!(world.handed_over.all().is_empty());
}

#[tokio::test]
async fn failed_observation_keeps_the_wake_mark() {
    let world = World::with([]);
    world.store.items().mark(&World::region(), "an event");
    let before = world.items().wake_mark.clone();
    world.host.state().fail_next_list = true;
    let scheduled = request(Trigger::Schedule);
    world.reconciler().run(&World::region(), &scheduled).await;
    assert_eq!(world.items().wake_mark, before);
    world.reconciler().run(&World::region(), &scheduled).await;
    assert_eq!(world.items().wake_mark, None, "the mark was followed");
}

#[tokio::test]
async fn wake_mark_that_cannot_be_cleared_ends_the_pass_after_one_round() {
    let world = World::with([instance("i-1"), instance("i-2")]);
    world.store.items().mark(&World::region(), "an event");
    world.store.items().next_error = Some((
        "clear_wake_mark",
        LockError::Unavailable {
            operation: "clear the wake mark",
            reason: "not allowed".to_owned(),
        },
    ));
    let scheduled = request(Trigger::Schedule);
    let report = world.reconciler().run(&World::region(), &scheduled).await;
    assert_eq!(
        (report.rounds, report.outcome),
        (1, PassOutcome::Incomplete)
    );
    assert!(world.handed_over.all().is_empty());
    world.reconciler().run(&World::region(), &scheduled).await;
    assert_eq!(world.items().wake_mark, None, "the next pass clears it");
}

#[tokio::test]
async fn lost_answer_to_release_still_follows_a_new_mark() {
    let world = World::with([instance("i-1"), instance("i-2")]);
    world.store.items().wake_again = 1;
    world.store.items().lose_next_release = true;
    let scheduled = request(Trigger::Schedule);
    let report = world.reconciler().run(&World::region(), &scheduled).await;
    assert_eq!(report.rounds, 2);
    assert_eq!(
        report.outcome,
        PassOutcome::Incomplete,
        "and it is reported"
    );
    assert_eq!(world.items().wake_mark, None);
}

#[tokio::test]
async fn holder_that_lost_its_lock_launches_nothing() {
    let world = World::with([]);
    world.store.items().next_error = Some((
        "open_intents",
        LockError::Lost {
            region: World::region(),
            version: 1,
        },
    ));
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Incomplete);
    assert!(world.host.state().launches.is_empty());
    assert!(
        world.alerts.all()[0].contains("lost"),
        "a lost lock is reported"
    );
}

#[tokio::test]
async fn recreated_table_advances_past_the_fence_in_postgres() {
    let world = World::with([]);
    world
        .database
        .rows()
        .tables
        .fence_mut(&World::region())
        .version = 7;
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Done, "{report:?}");
    assert_eq!(fence(&world), 8);
    assert_eq!(rows(&world, InstanceStatus::PreConnection), 2);
}

#[tokio::test]
async fn holder_that_lost_its_lock_cannot_advance_past_the_fence() {
    let world = World::with([]);
    world
        .database
        .rows()
        .tables
        .fence_mut(&World::region())
        .version = 7;
    world.store.items().next_error = Some((
        "advance_past_fence",
        LockError::Lost {
            region: World::region(),
            version: 1,
        },
    ));
    let report = world.pass().await;
    assert!(matches!(&report.outcome, PassOutcome::Failed { error } if error.contains("lost")));
    assert!(world.host.state().launches.is_empty());
}

#[tokio::test]
async fn lease_shorter_than_an_ec2_call_rejects_the_call() {
    let world = World::with([]);
    let mut reconciler = world.reconciler();
    reconciler.limits = PassLimits {
        budget: Duration::from_secs(5),
        lease: Duration::from_secs(9),
        ec2_call: Duration::from_secs(8),
    };
    let report = reconciler
        .run(&World::region(), &request(Trigger::HandOver))
        .await;
    assert!(matches!(&report.outcome, PassOutcome::Failed { error } if error.contains("lease")));
}

#[tokio::test]
async fn termination_is_committed_before_the_request_and_requested_again_after_a_failure() {
    let drained = Instance {
        status: InstanceStatus::Draining,
        draining_since: Some(at(-700)),
        ..instance("i-old")
    };
    let world = World::with([instance("i-1"), instance("i-2"), drained]);
    world.host.state().refuse_terminations = Some(HostErrorKind::Unclear);
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Incomplete);
    assert_eq!(rows(&world, InstanceStatus::Terminating), 1);

    world.host.state().refuse_terminations = None;
    world.pass().await;
    assert_eq!(world.host.state().terminated, ["i-old".into()]);
    world
        .host
        .set_state(&"i-old".into(), MachineState::Terminated);
    world.pass().await;
    assert_eq!(
        world.database.rows().tables.instances.len(),
        2,
        "its row is deleted"
    );
}

#[tokio::test]
async fn row_that_may_still_exist_gives_no_room_to_a_launch() {
    let ended = Instance {
        status: InstanceStatus::Terminating,
        ..instance("i-old")
    };
    let world = World::with([instance("i-1"), ended]);
    world
        .host
        .set_state(&"i-old".into(), MachineState::Terminated);
    let region = World::region();
    if let Some(settings) = world.database.rows().tables.settings_mut(&region) {
        settings.max_instances = 2;
    }
    world.database.rows().lose_next_answer = true;
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Incomplete, "{report:?}");
    assert!(world.items().closed.is_empty() && world.items().open.is_empty());

    world.pass().await;
    assert_eq!(world.items().closed[0].outcome, "1 of 1 launched");
}

#[tokio::test]
async fn user_assigned_after_the_observation_prevents_the_drain() {
    let world = World::with([instance("i-1"), instance("i-2"), instance("i-3")]);
    let reconciler = world.reconciler();
    let (snapshot, now) = reconciler
        .observer(&*reconciler.hosts.in_region(&World::region()))
        .observe(&World::region(), world.clock.now())
        .await
        .unwrap();
    let plan = decide(&snapshot, now).unwrap();
    assert_eq!(plan.steps.len(), 1, "one is surplus: {plan}");
    for slot in world.database.rows().tables.slots.values_mut() {
        slot.user = Some((slot.instance_id.to_string(), "1".to_owned()));
        slot.status = SlotStatus::Running;
    }
    let fence = Fence {
        region: World::region(),
        version: 1,
    };
    let ids: Vec<_> = snapshot.instances.keys().cloned().collect();
    let answers = world
        .database
        .drain(&fence, &ids, DrainCause::Surplus)
        .await
        .unwrap();
    assert!(
        answers
            .iter()
            .all(|row| row.outcome == WriteOutcome::Occupied)
    );
}

#[tokio::test]
async fn unknown_algorithm_is_reported_with_the_known_ones() {
    let world = World::with([]);
    {
        let tables = &mut world.database.rows().tables;
        let settings = tables.settings_mut(&World::region()).unwrap();
        settings.algorithm = "magic".to_owned();
    }
    let report = world.pass().await;
    let PassOutcome::Failed { error } = report.outcome else {
        panic!("{report:?}")
    };
    assert!(
        error.contains("\"magic\"") && error.contains("default"),
        "{error}"
    );
}

#[tokio::test]
async fn orphan_gets_a_row_before_it_is_terminated() {
    let world = World::with([instance("i-1"), instance("i-2")]);
    let orphan = machine(&instance("i-orphan"));
    world.host.state().ec2.add(orphan);
    world.pass().await;
    assert_eq!(rows(&world, InstanceStatus::Terminating), 1);
    assert_eq!(world.host.state().terminated, ["i-orphan".into()]);
}

/// A template below EC2's limit, whose result is above it: a token and a URL are longer than their
/// placeholders.
fn almost_too_long() -> String {
    format!("{}${{AGENT_TOKEN}}", "x".repeat(16 * 1024 - 100))
}

#[tokio::test]
async fn user_data_that_exceeds_the_limit_of_ec2_is_found_while_no_launch_is_due() {
    let world = World::with([instance("i-1"), instance("i-2")]);
    let update = |template: Option<String>| {
        let mut rows = world.database.rows();
        let row = rows.tables.regions.get_mut(&World::region()).unwrap();
        row.settings.user_data_template = template;
    };
    update(Some(almost_too_long()));
    let dry = world
        .reconciler()
        .dry_run(&World::region(), &request(Trigger::ByHand))
        .await;
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Done);
    for plan in [dry.plan.unwrap(), report.plan.unwrap()] {
        let alert = &plan.notes[0];
        let text = alert.to_string();
        assert!(alert.alert, "{text}");
        assert!(
            text.contains("row us-east-1, column `user_data_template`: it gives 16")
                && text.contains("16384")
                && text.contains("nothing is launched"),
            "{text}"
        );
        assert!(plan.is_empty(), "{plan}");
    }
    assert_eq!(world.alerts.all().len(), 1);

    update(Some("${AGENT_TOKEN}".to_owned()));
    assert!(
        world
            .pass()
            .await
            .plan
            .unwrap()
            .notes
            .iter()
            .all(|note| !note.alert)
    );
}
