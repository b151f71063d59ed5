//! Passes of the algorithm `replica`. A pass knows only EC2's list, the open intents and the status
//! that replicas report; the next pass completes what one left unfinished.

use jiff::SignedDuration;
use shared::clock::Clock as _;
use shared::host::HostErrorKind;
use shared::ids::InstanceId;
use shared::lock::LockError;
use shared::model::{MachineState, ReplicaAnswer};
use shared::pass::PassRequest;
use shared::report::{PassOutcome, PassReport};
use shared::scaling::{Action, Plan};
use shared::settings::{REPLICA, RegionSettings};
use shared::trigger::Trigger;
use testing::{Delays, TokenEnds, World, address_of, instance};

const CAPACITY: u32 = 3;

/// Longer than a replica takes to boot.
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// A region without replicas whose minimum of available capacity is six.
pub(crate) fn world() -> World {
    let world = World::with([]);
    set(&world, |settings| {
        settings.algorithm = REPLICA.to_owned();
        settings.replicas.capacity = CAPACITY;
        settings.replicas.min_available = 6;
    });
    world
}

pub(crate) fn set(world: &World, change: impl FnOnce(&mut RegionSettings)) {
    let mut rows = world.database.rows();
    change(rows.tables.settings_mut(&World::region()).unwrap());
}

/// Sets the answer of the replica that was created as the nth.
pub(crate) fn answers(world: &World, nth: u32, answer: ReplicaAnswer) {
    world.replicas.answers().insert(address_of(nth), answer);
}

pub(crate) fn healthy(world: &World, nth: impl IntoIterator<Item = u32>) {
    for nth in nth {
        answers(world, nth, ReplicaAnswer::Healthy { capacity: CAPACITY });
    }
}

pub(crate) fn id(nth: u32) -> InstanceId {
    format!("i-us-east-1-{nth:04}").into()
}

/// How many machines EC2 ever created.
fn created(world: &World) -> usize {
    world.host.state().ec2.machines.len()
}

fn live(world: &World) -> Vec<InstanceId> {
    let now = world.clock.now();
    world.host.state().ec2.live(now).cloned().collect()
}

/// Runs passes, one minute apart, until one has nothing to do.
pub(crate) async fn settle(world: &World) -> PassReport {
    for _ in 0..10 {
        world.clock.advance(MINUTE);
        let report = world.pass().await;
        let plan = report.plan.as_ref();
        if report.outcome == PassOutcome::Done && plan.is_some_and(Plan::is_empty) {
            return report;
        }
    }
    panic!("ten passes did not converge: {:#?}", world.items());
}

/// A region with two healthy replicas and nothing to do.
async fn filled() -> World {
    let world = world();
    healthy(&world, 1..=2);
    world.pass().await;
    settle(&world).await;
    assert_eq!(live(&world), [id(1), id(2)]);
    world
}

fn deleted(report: &PassReport) -> Vec<InstanceId> {
    let steps = report.plan.iter().flat_map(|plan| &plan.steps);
    let gone = steps.filter_map(|step| match &step.action {
        Action::DeleteReplica { instance } => Some(instance.clone()),
        _ => None,
    });
    gone.collect()
}

fn assert_nothing_open(world: &World) {
    let items = world.items();
    assert!(items.open.is_empty(), "{items:#?}");
    let tables = &world.database.rows().tables;
    assert!(tables.instances.is_empty(), "no replica has a row");
}

#[tokio::test]
async fn lagging_list_causes_no_second_launch() {
    let world = world();
    world.host.state().ec2.delays = Delays {
        listing_lag: SignedDuration::from_secs(90),
        ..Delays::default()
    };
    healthy(&world, 1..=2);
    for _ in 0..3 {
        let report = world.pass().await;
        assert_eq!(report.outcome, PassOutcome::Done, "{report:#?}");
        assert_eq!(created(&world), 2);
        world.clock.advance(SignedDuration::from_secs(20));
    }
    assert_eq!(world.items().open.len(), 1, "only the intent knows of them");
    settle(&world).await;
    assert_eq!(created(&world), 2);
    assert_eq!(world.items().closed[0].outcome, "2 of 2 launched");
    assert_nothing_open(&world);
}

#[tokio::test]
async fn launch_with_lost_answer_is_made_once() {
    let world = world();
    healthy(&world, 1..=2);
    world.host.state().lose_next_launch = true;
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Incomplete, "{report:#?}");
    settle(&world).await;
    assert_eq!(created(&world), 2);
    let launches = world.host.state().launches.clone();
    assert!(launches.len() > 1);
    assert!(launches.iter().all(|launch| *launch == launches[0]));
    assert_nothing_open(&world);
}

/// Each write to DynamoDB fails once, or finds that another holder took the lock.
#[tokio::test]
async fn pass_that_fails_at_any_write_is_completed_later() {
    let unavailable = || LockError::Unavailable {
        operation: "anything",
        reason: "injected".to_owned(),
    };
    let lost = || LockError::Lost {
        region: World::region(),
        version: 1,
    };
    for call in [
        "open_intents",
        "close_intents",
        "record_replicas",
        "record_decision",
        "release",
    ] {
        for error in [unavailable(), lost()] {
            let world = filled().await;
            healthy(&world, 3..=9);
            answers(&world, 1, ReplicaAnswer::Terminated);
            let shown = format!("{call}: {error}");
            world.store.items().next_error = Some((call, error));
            settle(&world).await;
            assert_eq!(live(&world), [id(2), id(3)], "{shown}");
            assert_eq!(created(&world), 3, "{shown}");
            assert_nothing_open(&world);
        }
    }
}

#[tokio::test]
async fn machine_that_dies_before_it_is_listed_is_replaced() {
    for token_ends in [TokenEnds::WithAll, TokenEnds::WithAny] {
        let world = world();
        {
            let ec2 = &mut world.host.state().ec2;
            ec2.delays.listing_lag = SignedDuration::from_secs(90);
            ec2.token_ends = token_ends;
        }
        healthy(&world, 2..=9);
        world.pass().await;
        world.host.set_state(&id(1), MachineState::Terminated);
        settle(&world).await;
        assert_eq!(live(&world), [id(2), id(3)], "{token_ends:?}");
        assert_eq!(created(&world), 3, "{token_ends:?}");
        assert_nothing_open(&world);
    }
}

#[tokio::test]
async fn launch_of_fewer_machines_is_completed_later() {
    let world = world();
    healthy(&world, 1..=9);
    world.host.state().ec2.at_most_next = Some(1);
    world.pass().await;
    assert_eq!(created(&world), 1);
    settle(&world).await;
    assert_eq!(created(&world), 2);
    assert_nothing_open(&world);
}

#[tokio::test]
async fn deletion_is_recorded_before_it_is_requested() {
    let world = filled().await;
    answers(&world, 1, ReplicaAnswer::Terminated);
    let error = LockError::Unavailable {
        operation: "record the replicas",
        reason: "injected".to_owned(),
    };
    world.store.items().next_error = Some(("record_replicas", error));
    let report = world.pass().await;
    assert_eq!(deleted(&report), [id(1)]);
    assert_eq!(report.outcome, PassOutcome::Incomplete, "{report:#?}");
    assert!(world.host.state().terminated.is_empty());

    world.host.state().lose_next_termination = true;
    world.pass().await;
    let recorded = world.items().replicas.deleting;
    assert_eq!(recorded.into_iter().collect::<Vec<_>>(), [id(1)]);
    healthy(&world, 3..=9);
    settle(&world).await;
    assert_eq!(live(&world), [id(2), id(3)]);
}

#[tokio::test]
async fn denied_deletion_is_requested_again() {
    let world = filled().await;
    healthy(&world, 3..=9);
    answers(&world, 1, ReplicaAnswer::Terminated);
    world.host.state().refuse_terminations = Some(HostErrorKind::Denied);
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Incomplete, "{report:#?}");
    world.host.state().refuse_terminations = None;
    settle(&world).await;
    assert_eq!(live(&world), [id(2), id(3)]);
}

/// Nothing is decided on a partial view.
#[tokio::test]
async fn failed_listing_deletes_and_launches_nothing() {
    let world = filled().await;
    world.host.state().fail_next_list = true;
    let report = world.pass().await;
    assert!(
        matches!(report.outcome, PassOutcome::Failed { .. }),
        "{report:#?}"
    );
    assert_eq!(live(&world), [id(1), id(2)]);
    assert_eq!(created(&world), 2);
}

#[tokio::test]
async fn silent_replica_is_replaced_after_the_limit_and_not_before() {
    let world = filled().await;
    healthy(&world, 3..=9);
    world.replicas.answers().remove(&address_of(1));
    settle(&world).await;
    assert_eq!(live(&world), [id(1), id(2), id(3)], "kept, and not counted");
    assert!(world.items().replicas.unknown_since.is_empty());

    let limit = SignedDuration::from_mins(5);
    set(&world, |settings| {
        settings.replicas.replace_unknown = Some(limit);
    });
    let since = world.clock.now();
    world.pass().await;
    assert_eq!(world.items().replicas.unknown_since[&id(1)], since);
    world.clock.advance(limit - SignedDuration::from_secs(1));
    assert!(deleted(&world.pass().await).is_empty());
    world.clock.advance(SignedDuration::from_secs(1));
    assert_eq!(deleted(&world.pass().await), [id(1)]);
    settle(&world).await;
    assert_eq!(live(&world), [id(2), id(3)]);
    assert!(world.items().replicas.unknown_since.is_empty());
}

#[tokio::test]
async fn answer_in_between_restarts_the_limit() {
    let world = filled().await;
    healthy(&world, 3..=9);
    set(&world, |settings| {
        settings.replicas.replace_unknown = Some(SignedDuration::from_mins(5));
    });
    world.replicas.answers().remove(&address_of(1));
    world.pass().await;
    world.clock.advance(SignedDuration::from_mins(4));
    healthy(&world, [1]);
    world.pass().await;
    world.replicas.answers().remove(&address_of(1));
    world.clock.advance(SignedDuration::from_mins(4));
    assert!(deleted(&world.pass().await).is_empty());
    assert_eq!(
        world.items().replicas.unknown_since[&id(1)],
        world.clock.now()
    );
}

/// What was recorded under the old limit does not count under the new one: nothing was observed in
/// between.
#[tokio::test]
async fn limit_that_is_set_again_starts_anew() {
    let world = filled().await;
    healthy(&world, 3..=9);
    let set_limit = |limit| {
        set(&world, |settings| settings.replicas.replace_unknown = limit);
    };
    set_limit(Some(SignedDuration::from_mins(5)));
    world.replicas.answers().remove(&address_of(1));
    world.pass().await;
    set_limit(None);
    healthy(&world, [1]);
    world.pass().await;
    world.clock.advance(SignedDuration::from_hours(1));
    world.replicas.answers().remove(&address_of(1));
    set_limit(Some(SignedDuration::from_mins(5)));
    assert!(deleted(&world.pass().await).is_empty(), "unknown since now");
}

#[tokio::test]
async fn dry_run_records_and_requests_nothing() {
    let world = filled().await;
    answers(&world, 1, ReplicaAnswer::Terminated);
    let before = world.items();
    let request = PassRequest {
        trigger: Trigger::ByHand,
        id: "test".to_owned(),
        began: world.clock.now(),
        approve_mass_removal: false,
    };
    let report = world.reconciler().dry_run(&World::region(), &request).await;
    assert_eq!(deleted(&report), [id(1)]);
    assert_eq!(report.plan.unwrap().replicas.len(), 2);
    assert!(world.host.state().terminated.is_empty());
    let after = world.items();
    assert_eq!(after.replicas, before.replicas);
    assert_eq!(after.decisions.len(), before.decisions.len());
}

/// A machine with a row is an instance of another algorithm, not a replica.
#[tokio::test]
async fn instance_with_a_row_is_not_deleted_as_a_replica() {
    let world = World::with([instance("i-1")]);
    set(&world, |settings| {
        settings.algorithm = REPLICA.to_owned();
    });
    world.host.set_state(&"i-1".into(), MachineState::Stopped);
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Done, "{report:#?}");
    assert!(report.plan.unwrap().replicas.is_empty());
    assert!(world.host.state().terminated.is_empty());
}
