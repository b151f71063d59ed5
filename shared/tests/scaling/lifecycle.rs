//! Golden plans of the time limits of an instance's states, of slots, and of a paused region.

use jiff::SignedDuration;
use shared::model::{Instance, SlotCounts};
use testing::{NOW, at, instance, snapshot};

use crate::support::{assert_plan, booting, draining, occupied, silent};

#[test]
fn instance_not_up_within_boot_time_is_terminated() {
    assert_plan(
        &snapshot([booting("i-1", 700), instance("i-2"), instance("i-3")]),
        "target 4, free 4, starting 0, waiting 0, occupied 0, live 3 of 10
        - rest c5.large in subnet-a until 2026-01-01T12:03:00Z: i-1 of c5.large in subnet-a on image ami-1 did not live: not ACTIVE in time (boot_seconds); the next launch there is after 2026-01-01T12:03:00Z
        - terminate i-1: not ACTIVE 700 s after its launch (boot_seconds)
        ! i-1 of c5.large in subnet-a on image ami-1 did not live: not ACTIVE in time (boot_seconds); the next launch there is after 2026-01-01T12:03:00Z
        · free 4 and starting 0 meet the target of 4",
    );
}

#[test]
fn silent_instance_is_not_free_and_lost_one_is_terminated() {
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
fn overdue_drain_is_terminated_if_empty_and_alerted_if_occupied() {
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
fn silence_before_passes_observed_does_not_count() {
    // The database was down for an hour: the agents are not lost, and the buffer is not launched
    // again.
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
fn paused_region_has_no_steps() {
    let mut snapshot = snapshot([draining("i-1", 9000)]);
    snapshot.settings.paused = true;
    assert_plan(
        &snapshot,
        "target 4, free 0, starting 0, waiting 0, occupied 0, live 1 of 10
        · the region is paused",
    );
}

#[test]
fn unclaimed_slots_are_released() {
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
fn heartbeat_from_the_future_removes_nothing() {
    // A restored backup could show a heartbeat from the future. A host with a wrong clock cannot
    // write one: the database sets the time. It does not justify a removal.
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
