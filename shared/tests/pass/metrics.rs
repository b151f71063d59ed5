//! What passes and events record as metrics.

use std::time::Duration;

use jiff::SignedDuration;
use shared::host::HostErrorKind;
use shared::ids::Owner;
use shared::lock::{LockError, RegionLock};
use shared::metrics::*;
use shared::model::Spending;
use shared::report::PassOutcome;
use shared::trigger::Trigger;
use testing::{Recorded, World, at, instance};

/// A region whose two instances hold the target of four free slots.
fn full() -> World {
    World::with(["i-1", "i-2"].map(instance))
}

#[track_caller]
fn assert_values(metrics: &Recorded, expected: &[(Metric, &[f64])]) {
    for (metric, values) in expected {
        assert_eq!(metrics.values(*metric), *values, "{}", metric.name);
    }
}

#[tokio::test]
async fn pass_measures_the_state_of_its_region() {
    let world = full();
    world.pass().await;
    assert_values(
        &world.metrics,
        &[
            (PASSES, &[1.0]),
            (FAILED_PASSES, &[0.0]),
            (FREE_SLOTS, &[4.0]),
            (TARGET_SLOTS, &[4.0]),
            (LIVE_INSTANCES, &[2.0]),
            (NO_FREE_SLOT, &[0.0]),
            (UNHEALTHY_INSTANCES, &[0.0]),
            (LAUNCHES, &[0.0]),
            (LAUNCHES_BLOCKED, &[0.0]),
            (STALE_SECONDS, &[0.0]),
            // Of a region that had no decision before, nothing is new.
            (BOOT_SECONDS, &[]),
            (DRAINS, &[0.0]),
            (EMPTY_INSTANCE_SECONDS, &[0.0]),
        ],
    );
    let batches = world.metrics.batches();
    let expected = [(REGION, "us-east-1"), (ALGORITHM, "default")];
    let expected = expected.map(|(name, value)| (name, value.to_owned()));
    assert_eq!(batches[0].labels(), expected);
}

#[tokio::test]
async fn cost_is_measured_where_there_are_prices_and_is_unknown_elsewhere() {
    let world = full();
    world.pass().await;
    assert_values(&world.metrics, &[(DAY_COST, &[]), (MONTH_COST, &[])]);
    let spending = Spending {
        currency: "USD".to_owned(),
        month: 40.5,
        today: 3.25,
        unpriced_seconds: 60.0,
        uncounted_hours: 0,
        until: at(86_400),
    };
    {
        let mut rows = world.database.rows();
        rows.tables.spending.insert("us-east-1".into(), spending);
    }
    world.pass().await;
    assert_values(
        &world.metrics,
        &[
            (DAY_COST, &[3.25]),
            (MONTH_COST, &[40.5]),
            (UNPRICED_SECONDS, &[60.0]),
        ],
    );
}

#[tokio::test]
async fn what_happens_between_two_decisions_counts_once() {
    let world = full();
    world.pass().await;
    world.metrics.clear();
    {
        let mut rows = world.database.rows();
        let instances = &mut rows.tables.instances;
        let first = instances.get_mut(&"i-1".into()).unwrap();
        (first.launched_at, first.active_at) = (at(-25), Some(at(10)));
        let second = instances.get_mut(&"i-2".into()).unwrap();
        second.draining_since = Some(at(20));
    }
    world.clock.advance(SignedDuration::from_secs(30));
    world.pass().await;
    assert_values(
        &world.metrics,
        &[
            (STALE_SECONDS, &[30.0]),
            (BOOT_SECONDS, &[35.0]),
            (DRAINS, &[1.0]),
            // One was ACTIVE for 20 s of them, the other for all.
            (EMPTY_INSTANCE_SECONDS, &[50.0]),
        ],
    );
    world.metrics.clear();
    world.clock.advance(SignedDuration::from_secs(10));
    world.pass().await;
    assert_values(
        &world.metrics,
        &[
            (STALE_SECONDS, &[10.0]),
            (BOOT_SECONDS, &[]),
            (DRAINS, &[0.0]),
            (EMPTY_INSTANCE_SECONDS, &[20.0]),
        ],
    );
}

#[tokio::test]
async fn what_a_pass_could_not_record_is_counted_by_the_next() {
    let world = full();
    world.pass().await;
    world.metrics.clear();
    let failed = LockError::Unavailable {
        operation: "record the decision",
        reason: "test".to_owned(),
    };
    world.store.items().next_error = Some(("record_decision", failed));
    world.clock.advance(SignedDuration::from_secs(30));
    world.pass().await;
    assert_values(&world.metrics, &[(EMPTY_INSTANCE_SECONDS, &[0.0])]);
    world.clock.advance(SignedDuration::from_secs(30));
    world.pass().await;
    assert_values(
        &world.metrics,
        &[
            (EMPTY_INSTANCE_SECONDS, &[0.0, 120.0]),
            (STALE_SECONDS, &[30.0, 60.0]),
        ],
    );
}

#[tokio::test]
async fn launches_and_refusals_of_ec2_are_counted() {
    let world = World::with([]);
    world.pass().await;
    assert_values(
        &world.metrics,
        &[
            (LAUNCHES, &[2.0]),
            (LAUNCHES_BLOCKED, &[0.0]),
            (NO_FREE_SLOT, &[1.0]),
            (LAUNCH_FAILURES, &[]),
        ],
    );

    let world = World::with([]);
    let refusals = [HostErrorKind::Unclear; 2];
    world.host.state().refuse_launches.extend(refusals);
    world.pass().await;
    assert_values(
        &world.metrics,
        &[
            (LAUNCHES, &[0.0]),
            (LAUNCHES_BLOCKED, &[1.0]),
            (LAUNCH_FAILURES, &[2.0]),
        ],
    );
    let batches = world.metrics.batches();
    let of_code = batches.last().unwrap().labels();
    assert_eq!(of_code[2].0, CODE);
    assert!(!of_code[2].1.is_empty());
}

#[tokio::test]
async fn pass_that_fails_or_waits_says_how_old_the_decision_is() {
    let world = full();
    world.pass().await;
    world.metrics.clear();
    world.clock.advance(SignedDuration::from_secs(60));
    world.host.state().fail_next_list = true;
    let report = world.pass().await;
    assert!(matches!(report.outcome, PassOutcome::Failed { .. }));
    assert_values(
        &world.metrics,
        &[
            (PASSES, &[1.0]),
            (FAILED_PASSES, &[1.0]),
            (ALERTS, &[1.0]),
            (STALE_SECONDS, &[60.0]),
            (FREE_SLOTS, &[]),
        ],
    );
    assert_eq!(world.metrics.batches()[0].labels()[1].1, "unknown");

    world.metrics.clear();
    world.clock.advance(SignedDuration::from_secs(60));
    let (lease, owner) = (Duration::from_secs(50), Owner::random());
    let (region, now) = (World::region(), at(120));
    let held = world.store.acquire(&region, &owner, now, lease);
    held.await.unwrap();
    world.pass().await;
    assert_values(
        &world.metrics,
        &[
            (LOCK_WAITS, &[1.0]),
            (PASSES, &[]),
            (STALE_SECONDS, &[120.0]),
        ],
    );
}

#[tokio::test]
async fn event_is_counted_as_seen_once_and_then_as_repeated() {
    let world = full();
    let reconciler = world.reconciler();
    let regions = [World::region()];
    for _ in 0..3 {
        let trigger = Trigger::DatabaseEvent {
            name: "region_wake".to_owned(),
        };
        let handled = reconciler.handle_event("event-1", &regions, trigger);
        handled.await.unwrap();
    }
    assert_values(
        &world.metrics,
        &[(EVENTS_SEEN, &[1.0]), (EVENTS_REPEATED, &[1.0, 1.0])],
    );
}

#[tokio::test]
async fn dry_run_records_nothing() {
    let world = full();
    let request = shared::pass::PassRequest {
        trigger: Trigger::ByHand,
        id: "test".to_owned(),
        began: at(0),
        approve_mass_removal: false,
    };
    let reconciler = world.reconciler();
    reconciler.dry_run(&World::region(), &request).await;
    assert_eq!(world.metrics.batches(), []);
}
