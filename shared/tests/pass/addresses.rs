//! Passes that move external addresses: what EC2 answers, loses or refuses, and what the next pass
//! makes of it. EC2's true state is looked at after each.

use jiff::SignedDuration;

use crate::replicas::{answers, healthy, id, set, settle, world};
use shared::clock::Clock as _;
use shared::host::HostErrorKind;
use shared::ids::AddressId;
use shared::lock::*;
use shared::model::{Carrier, MachineState, ReplicaAnswer};
use shared::pass::*;
use shared::report::*;
use shared::scaling::Action;
use shared::settings::AddressTag;
use shared::trigger::Trigger;
use testing::World;

fn tag() -> AddressTag {
    "pool=public".parse().unwrap()
}

/// So many healthy replicas at rest, the pool's addresses free.
async fn with_pool(replicas: u32, addresses: usize) -> (World, Vec<AddressId>) {
    let world = world();
    set(&world, |settings| {
        settings.replicas.min_available = 3 * replicas;
        settings.replicas.address_tag = Some(tag());
    });
    healthy(&world, 1..=replicas + 5);
    world.pass().await;
    settle(&world).await;
    let now = world.clock.now();
    let allocate = |_| world.host.state().ec2.allocate(&tag(), now);
    let ids = (0..addresses).map(allocate).collect();
    (world, ids)
}

fn carriers(world: &World, addresses: &[AddressId]) -> Vec<Carrier> {
    let now = world.clock.now();
    let ec2 = &world.host.state().ec2;
    addresses.iter().map(|id| ec2.carrier(id, now)).collect()
}

fn on(nth: u32) -> Carrier {
    Carrier::Instance(id(nth))
}

fn asked(report: &PassReport) -> usize {
    let steps = report.plan.iter().flat_map(|plan| &plan.steps);
    let moves = steps.filter(|step| matches!(step.action, Action::MoveAddress { .. }));
    moves.count()
}

#[tokio::test]
async fn without_a_tag_ec2_is_not_asked() {
    let (world, _) = with_pool(1, 1).await;
    set(&world, |settings| settings.replicas.address_tag = None);
    world.host.state().refuse_address_lists = Some(HostErrorKind::Denied);
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Done, "{report:#?}");
    assert!(report.plan.unwrap().notes.iter().all(|note| !note.alert));
}

#[tokio::test]
async fn addresses_that_cannot_be_listed_keep_nothing_from_being_done() {
    let (world, pool) = with_pool(2, 1).await;
    world.host.state().refuse_address_lists = Some(HostErrorKind::Denied);
    answers(&world, 1, ReplicaAnswer::Terminated);
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Done, "{report:#?}");
    assert_eq!(world.host.state().terminated, [id(1)]);
    assert!(report.plan.unwrap().notes.iter().any(|note| note.alert));
    assert_eq!(carriers(&world, &pool), [Carrier::Nobody]);
}

#[tokio::test]
async fn a_replica_that_ends_hands_its_address_over_first() {
    let (world, pool) = with_pool(3, 2).await;
    world.pass().await;
    assert_eq!(carriers(&world, &pool), [on(1), on(2)]);
    answers(&world, 1, ReplicaAnswer::Terminated);
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Done, "{report:#?}");
    assert_eq!(carriers(&world, &pool), [on(3), on(2)]);
    let steps: Vec<_> = report.results.iter().map(|it| it.step.as_str()).collect();
    assert_eq!(
        steps[..2],
        [
            format!("move address 203.0.113.1 from {} to {}", id(1), id(3)),
            format!("delete replica {}", id(1)),
        ]
    );
    settle(&world).await;
    assert_eq!(
        carriers(&world, &pool),
        [on(3), on(2)],
        "nor is it moved again"
    );
}

/// The deletion does not wait: the address is free when its replica is gone.
#[tokio::test]
async fn a_move_that_fails_keeps_nothing_from_being_deleted_and_is_made_up_for() {
    for kind in [
        HostErrorKind::Gone,
        HostErrorKind::Unclear,
        HostErrorKind::Denied,
    ] {
        let (world, pool) = with_pool(2, 1).await;
        world.pass().await;
        assert_eq!(carriers(&world, &pool), [on(1)]);
        answers(&world, 1, ReplicaAnswer::Terminated);
        world.host.state().refuse_associations = [kind].into();
        let report = world.pass().await;
        assert_eq!(report.outcome, PassOutcome::Incomplete, "{report:#?}");
        assert_eq!(world.host.state().terminated, [id(1)]);
        settle(&world).await;
        assert_eq!(carriers(&world, &pool), [on(2)], "{kind:?}");
    }
}

#[tokio::test]
async fn one_move_that_fails_leaves_the_others() {
    let (world, pool) = with_pool(2, 2).await;
    world.host.state().refuse_associations = [HostErrorKind::Gone].into();
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Incomplete, "{report:#?}");
    assert_eq!(carriers(&world, &pool), [Carrier::Nobody, on(2)]);
    settle(&world).await;
    assert_eq!(carriers(&world, &pool), [on(1), on(2)]);
}

#[tokio::test]
async fn a_lost_answer_moves_nothing_twice() {
    let (world, pool) = with_pool(2, 1).await;
    world.host.state().lose_next_association = true;
    let report = world.pass().await;
    assert_eq!(report.outcome, PassOutcome::Incomplete, "{report:#?}");
    assert_eq!(carriers(&world, &pool), [on(1)]);
    let report = world.pass().await;
    assert_eq!(
        (report.outcome.clone(), asked(&report)),
        (PassOutcome::Done, 0)
    );
    assert_eq!(carriers(&world, &pool), [on(1)]);
}

#[tokio::test]
async fn a_list_that_lags_has_the_same_asked_again_and_nothing_else() {
    let (world, pool) = with_pool(3, 1).await;
    let lag = SignedDuration::from_secs(90);
    world.host.state().ec2.delays.address_lag = lag;
    world.clock.advance(lag);
    for _ in 0..8 {
        let report = world.pass().await;
        assert_eq!(report.outcome, PassOutcome::Done, "{report:#?}");
        assert_eq!(carriers(&world, &pool), [on(1)]);
        world.clock.advance(SignedDuration::from_secs(20));
    }
    let history = world.host.state().ec2.external[&pool[0]].carried.clone();
    assert_eq!(history.len(), 2, "allocated, given once: {history:#?}");
}

/// EC2 can refuse a replica what it gives to another.
#[tokio::test]
async fn a_replica_that_ec2_gives_no_address_to_does_not_hold_it_back_for_ever() {
    let (world, pool) = with_pool(2, 1).await;
    world.host.state().no_address_for = [id(1)].into();
    for _ in 0..6 {
        let _ = world.pass().await;
        if carriers(&world, &pool) == [on(2)] {
            return;
        }
        world.clock.advance(SignedDuration::from_secs(60));
    }
    panic!("{:#?}", world.items().replicas);
}

#[tokio::test]
async fn an_address_that_somebody_took_meanwhile_is_not_taken_from_them() {
    let (world, pool) = with_pool(2, 1).await;
    let now = world.clock.now();
    world.host.state().ec2.delays.address_lag = SignedDuration::from_secs(30);
    world.clock.advance(SignedDuration::from_secs(31));
    let nat = Carrier::Other("eni-nat".to_owned());
    let taken = now + SignedDuration::from_secs(20);
    world.host.state().ec2.put_on(&pool[0], nat.clone(), taken);
    let report = world.pass().await;
    assert_eq!(
        (asked(&report), report.outcome),
        (1, PassOutcome::Incomplete)
    );
    assert_eq!(carriers(&world, &pool), std::slice::from_ref(&nat));
    settle(&world).await;
    assert_eq!(carriers(&world, &pool), [nat]);
}

#[tokio::test]
async fn nothing_is_moved_that_is_not_written_down_first() {
    let unavailable = || LockError::Unavailable {
        operation: "record the replicas",
        reason: "as ordered".to_owned(),
    };
    let lost = || LockError::Lost {
        region: World::region(),
        version: 1,
    };
    for error in [unavailable(), lost()] {
        let (world, pool) = with_pool(1, 1).await;
        world.store.items().next_error = Some(("record_replicas", error));
        let report = world.pass().await;
        assert_eq!(report.outcome, PassOutcome::Incomplete, "{report:#?}");
        assert_eq!(carriers(&world, &pool), [Carrier::Nobody]);
        settle(&world).await;
        assert_eq!(carriers(&world, &pool), [on(1)]);
    }
}

#[tokio::test]
async fn one_that_dies_gives_its_address_to_another_and_gets_none_back() {
    let (world, pool) = with_pool(3, 2).await;
    world.pass().await;
    world.host.set_state(&id(1), MachineState::Terminated);
    settle(&world).await;
    assert_eq!(carriers(&world, &pool), [on(3), on(2)]);
    // Silent, and then back: the address stays with who has it now.
    world.replicas.answers().remove(&testing::address_of(2));
    settle(&world).await;
    assert_eq!(
        carriers(&world, &pool),
        [on(3), on(4)],
        "the fourth took the first's place"
    );
    healthy(&world, [2]);
    settle(&world).await;
    assert_eq!(carriers(&world, &pool), [on(3), on(4)]);
}

#[tokio::test]
async fn a_dry_run_shows_the_moves_and_makes_none() {
    let (world, pool) = with_pool(1, 1).await;
    let order = PassRequest {
        trigger: Trigger::ByHand,
        id: "test".to_owned(),
        began: world.clock.now(),
        approve_mass_removal: false,
    };
    let report = world.reconciler().dry_run(&World::region(), &order).await;
    assert_eq!(asked(&report), 1);
    let shown = report.plan.unwrap().replicas[0].address.clone().unwrap();
    assert_eq!(shown.decided, "gets 203.0.113.1: it is free");
    assert_eq!(carriers(&world, &pool), [Carrier::Nobody]);
    assert!(world.items().replicas.address_moves.is_empty());
}
