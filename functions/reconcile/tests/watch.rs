//! Conditions of the whole service: an outage of the database, a schedule that has stopped, stray
//! instances. Each call has a reconciler of its own, as each instance of a function has.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::sync::Arc;

use jiff::SignedDuration;
use reconcile::handle;
use serde_json::{Value, json};
use shared::clock::Clock as _;
use shared::db::DbError;
use shared::ids::RegionName;
use shared::lock::LockError;
use shared::pass::{EventOutcome, SCHEDULE_STOPPED_AFTER};
use shared::trigger::Trigger;
use testing::{FakeHost, World, instance, machine};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// A region with a full buffer.
fn world() -> World {
    World::with(["i-1", "i-2"].map(instance))
}

fn schedule() -> Value {
    json!({"source": "aws.events", "detail-type": "Scheduled Event"})
}

async fn scheduled(world: &World) -> bool {
    let answer = handle(&world.reconciler(), schedule(), "test").await;
    answer.is_ok()
}

fn break_database(world: &World) {
    world.database.rows().next_error = Some(DbError::Unavailable {
        operation: "list the regions",
        reason: "connection refused".to_owned(),
    });
}

fn break_table(world: &World, call: &'static str) {
    let error = LockError::Unavailable {
        operation: "read",
        reason: "it is down".to_owned(),
    };
    world.store.items().next_error = Some((call, error));
}

#[tokio::test]
async fn outage_of_the_database_is_alerted_once_and_its_end_is_reported() {
    let world = world();
    assert!(scheduled(&world).await);
    assert!(world.alerts.all().is_empty(), "{:?}", world.alerts.all());
    for outage in [1, 2] {
        for _ in 0..40 {
            world.clock.advance(MINUTE);
            break_database(&world);
            assert!(!scheduled(&world).await);
        }
        let alerts = world.alerts.all();
        assert_eq!(alerts.len(), 2 * outage - 1, "{alerts:?}");
        let alert = alerts.last().unwrap();
        assert!(alert.starts_with("all-regions: no region gets a pass"));
        assert!(alert.contains("connection refused"), "{alert}");
        for _ in 0..3 {
            world.clock.advance(MINUTE);
            assert!(scheduled(&world).await);
        }
        let alerts = world.alerts.all();
        assert_eq!(alerts.len(), 2 * outage, "{alerts:?}");
        let end = "all-regions: the database answers again, and passes run, after 40 min";
        assert_eq!(alerts.last().unwrap(), end);
    }
}

#[tokio::test]
async fn outage_is_alerted_while_it_cannot_be_recorded() {
    let world = world();
    break_database(&world);
    break_table(&world, "begin");
    assert!(!scheduled(&world).await);
    let alerts = world.alerts.all();
    assert!(
        alerts.len() == 1 && alerts[0].contains("connection refused"),
        "{alerts:?}"
    );
}

#[tokio::test]
async fn invocation_does_not_fail_by_the_record_of_the_service() {
    for call in ["record_schedule", "claim_search"] {
        let world = world();
        break_table(&world, call);
        assert!(scheduled(&world).await, "{call}");
        assert!(world.alerts.all().is_empty(), "{:?}", world.alerts.all());
    }
}

#[tokio::test]
async fn failed_passes_of_a_known_outage_are_not_alerted_again() {
    let world = world();
    break_database(&world);
    assert!(!scheduled(&world).await);
    break_database(&world);
    event(&world, "event-1").await;
    assert_eq!(world.alerts.all().len(), 1, "{:?}", world.alerts.all());
}

#[tokio::test]
async fn end_of_an_outage_is_reported_by_an_event_too() {
    let world = world();
    break_database(&world);
    assert!(!scheduled(&world).await);
    event(&world, "event-1").await;
    let alerts = world.alerts.all();
    assert_eq!(alerts.len(), 2, "{alerts:?}");
    assert!(
        alerts[1].contains("the database answers again"),
        "{alerts:?}"
    );
}

async fn event(world: &World, id: &str) {
    let trigger = Trigger::DatabaseEvent {
        name: "region_woken".to_owned(),
    };
    let outcome = world
        .reconciler()
        .handle_event(id, &[World::region()], trigger)
        .await
        .unwrap();
    assert!(matches!(outcome, EventOutcome::Handled(_)));
}

#[tokio::test]
async fn schedule_that_has_stopped_is_alerted_once_by_events_and_its_return_is_reported() {
    let world = world();
    event(&world, "before the first schedule").await;
    assert!(scheduled(&world).await);
    world
        .clock
        .advance(SCHEDULE_STOPPED_AFTER - SignedDuration::from_secs(1));
    event(&world, "in time").await;
    assert!(world.alerts.all().is_empty(), "{:?}", world.alerts.all());
    for late in ["late", "later", "still later"] {
        world.clock.advance(MINUTE);
        event(&world, late).await;
    }
    let alerts = world.alerts.all();
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    let says = "all-regions: the schedule has not invoked reconcile since 2026-01-01T12:00:00Z";
    assert!(alerts[0].starts_with(says), "{alerts:?}");
    world.clock.advance(MINUTE);
    assert!(scheduled(&world).await);
    assert!(scheduled(&world).await);
    let alerts = world.alerts.all();
    assert_eq!(alerts.len(), 2, "{alerts:?}");
    let says = "all-regions: the schedule invokes reconcile again, after 8 min";
    assert_eq!(alerts[1], says);
}

/// A region of the account without a row, with machines of this stack.
fn with_strays(world: &mut World, region: &str, ids: &[&str]) -> Arc<FakeHost> {
    let name = RegionName::from(region);
    let host = Arc::new(FakeHost::new(&name, world.clock.clone()));
    for id in ids {
        host.state().ec2.add(machine(&instance(id)));
    }
    world.other_regions.push((name, host.clone()));
    host
}

#[tokio::test]
async fn stray_instances_are_reported_once_a_day_and_never_touched() {
    let mut world = world();
    let ids = ["i-3", "i-4", "i-5", "i-6", "i-7", "i-8", "i-9"];
    let host = with_strays(&mut world, "eu-west-3", &ids);
    with_strays(&mut world, "eu-west-1", &[]);
    for _ in 0..60 {
        assert!(scheduled(&world).await);
        world.clock.advance(SignedDuration::from_mins(24));
        for beat in world.database.rows().tables.heartbeats.values_mut() {
            beat.beat_at += SignedDuration::from_mins(24);
        }
    }
    let alerts = world.alerts.all();
    let alerts: Vec<_> = alerts.iter().filter(|a| a.contains("eu-west-3")).collect();
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    let says = "eu-west-3: 7 instances with this stack's tags are in eu-west-3, which has no row in \
                `regions`: i-3, i-4, i-5, i-6, i-7 and 2 more.";
    assert!(alerts[0].starts_with(says), "{alerts:?}");
    assert!(scheduled(&world).await);
    let alerts = world.alerts.all();
    assert_eq!(alerts.iter().filter(|a| a.contains("eu-west-3")).count(), 2);
    assert!(host.state().terminated.is_empty());
    assert_eq!(host.state().ec2.list(world.clock.now()).len(), ids.len());
}

#[tokio::test]
async fn region_that_cannot_be_searched_does_not_hide_the_strays_of_others() {
    let mut world = world();
    with_strays(&mut world, "ap-south-1", &["i-3"])
        .state()
        .throttled = true;
    with_strays(&mut world, "eu-west-3", &["i-4"]);
    assert!(scheduled(&world).await);
    let alerts = world.alerts.all();
    assert!(alerts.len() == 1 && alerts[0].contains("i-4"), "{alerts:?}");
}

#[tokio::test]
async fn only_the_schedule_searches_for_strays_and_only_if_it_is_switched_on() {
    let mut world = world();
    with_strays(&mut world, "eu-west-3", &["i-4"]);
    let by_hand = handle(&world.reconciler(), json!({}), "test").await;
    by_hand.unwrap();
    let mut off = world.reconciler();
    off.account = None;
    handle(&off, schedule(), "test").await.unwrap();
    assert!(world.alerts.all().is_empty(), "{:?}", world.alerts.all());
    assert!(scheduled(&world).await);
    assert_eq!(world.alerts.all().len(), 1);
}
