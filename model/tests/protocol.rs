//! Checks all states of the model within bounds, and that each property can be violated.

use std::collections::BTreeSet;

use scaling_model::{Action, Bounds, Protocol, Variant, name};
use stateright::{Checker, DiscoveryClassification, Model, Path};

type Names = BTreeSet<&'static str>;

const SMALL: Bounds = Bounds::SMALL;
const ONE_FAULT: Bounds = Bounds { faults: 1, ..SMALL };
const TWO_FAULTS: Bounds = Bounds { faults: 2, ..SMALL };
const THREE_FAULTS: Bounds = Bounds { faults: 3, ..SMALL };
const THREE_EVENTS: Bounds = Bounds { events: 3, ..SMALL };

const TWO_EVENTS: Bounds = Bounds {
    events: 2,
    duplicates: 1,
    ..SMALL
};

const TWO_EVENTS_ONE_FAULT: Bounds = Bounds {
    events: 2,
    ..ONE_FAULT
};

const TWO_PASSES_TWO_FAULTS: Bounds = Bounds {
    scheduled: 2,
    faults: 2,
    ..SMALL
};

const TABLE_RECREATED: Bounds = Bounds { fence: 9, ..SMALL };

const TABLE_RECREATED_TWO_FAULTS: Bounds = Bounds {
    faults: 2,
    ..TABLE_RECREATED
};

const CLEARS_FAIL: Bounds = Bounds {
    clears_succeed: false,
    ..SMALL
};

const NO_INVOCATIONS: Bounds = Bounds {
    invocations: 0,
    ..SMALL
};

/// What the checker found in all states: properties that are violated, and examples.
struct Found {
    violated: Names,
    examples: Names,
}

/// Visits every state. Prints the number of states, and the steps to each violation.
fn check(variant: Variant, bounds: Bounds) -> Found {
    let protocol = Protocol { variant, bounds };
    let checker = protocol.checker().spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{variant:?}: {states} states, {depth} steps at most, {bounds:?}");
    let (examples, violated): (Names, Names) =
        checker.discoveries().into_keys().partition(|name| {
            let kind = checker.discovery_classification(name);
            matches!(kind, DiscoveryClassification::Example)
        });
    for property in &violated {
        println!("  violated: {property}");
        for action in shortest_path(protocol, property) {
            println!("    {action:?}");
        }
    }
    Found { violated, examples }
}

/// The shortest path to a violation. The checker itself keeps the last one that it finds.
fn shortest_path(protocol: Protocol, property: &'static str) -> Vec<Action> {
    let found = (1..).find_map(|depth| {
        let checker = protocol.checker().target_max_depth(depth);
        checker.spawn_bfs().join().discovery(property)
    });
    found.map(Path::into_actions).unwrap_or_default()
}

/// No property is violated, and the examples occur.
fn assert_holds(bounds: Bounds, examples: &[&'static str]) {
    let found = check(Variant::AsBuilt, bounds);
    assert_eq!(found.violated, Names::new());
    let examples: Names = examples.iter().copied().collect();
    let missing: Vec<_> = examples.difference(&found.examples).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}");
}

/// Exactly these properties are violated.
fn assert_violates(variant: Variant, bounds: Bounds, properties: &[&'static str]) {
    let found = check(variant, bounds);
    let properties: Names = properties.iter().copied().collect();
    assert_eq!(found.violated, properties, "{variant:?}");
}

#[test]
fn events_without_faults_are_all_acted_on_before_the_schedule() {
    use name::{DELIVERED_AGAIN, HANDED_OVER, LOCK_HELD};
    assert_holds(TWO_EVENTS, &[LOCK_HELD, DELIVERED_AGAIN, HANDED_OVER]);
    assert_holds(THREE_EVENTS, &[LOCK_HELD, HANDED_OVER]);
}

#[test]
fn one_fault_during_two_events_loses_no_mark() {
    use name::{DELAYED_CLEAR, DELIVERED_AGAIN, STALE_HOLDER};
    assert_holds(
        TWO_EVENTS_ONE_FAULT,
        &[STALE_HOLDER, DELIVERED_AGAIN, DELAYED_CLEAR],
    );
}

#[test]
fn two_faults_during_several_passes_lose_no_mark() {
    assert_holds(TWO_PASSES_TWO_FAULTS, &[name::STALE_HOLDER]);
}

/// A mark that is left is what the schedule is for.
#[test]
fn three_faults_during_one_event_leave_it_to_the_schedule_at_worst() {
    assert_holds(THREE_FAULTS, &[name::LEFT_TO_SCHEDULE]);
}

#[test]
fn lock_below_fence_is_raised_above_it_despite_two_faults() {
    use name::{ADVANCED, STALE_HOLDER};
    assert_holds(TABLE_RECREATED_TWO_FAULTS, &[ADVANCED, STALE_HOLDER]);
}

/// The mark stays set, but no endless chain of passes follows from it.
#[test]
fn mark_that_cannot_be_cleared_is_left_to_each_scheduled_pass() {
    assert_violates(Variant::AsBuilt, CLEARS_FAIL, &[name::AT_REST]);
}

#[test]
fn each_changed_rule_violates_its_properties_and_each_property_can_fail() {
    use Variant as V;
    use name::*;
    let lost = [MARK_KEPT, SEEN_IS_MARKED, LEFT_IS_MARKED];
    let lost_without_fault = [MARK_KEPT, SEEN_IS_MARKED, LEFT_IS_MARKED, NONE_LEFT];
    let never_done = [NONE_LEFT, ALL_ACTED_ON, AT_REST];
    assert_violates(V::AsBuilt, NO_INVOCATIONS, &[NEVER_STUCK]);
    assert_violates(V::NoFence, ONE_FAULT, &[ONE_WRITER]);
    assert_violates(V::NoAdvancePastFence, TABLE_RECREATED, &never_done);
    assert_violates(V::NoReread, SMALL, &[NONE_LEFT]);
    assert_violates(V::UnansweredReleaseEndsPass, ONE_FAULT, &[NONE_LEFT]);
    assert_violates(V::SeenBeforeMarked, SMALL, &[SEEN_IS_MARKED]);
    assert_violates(V::MarkOnlyIfUnset, TWO_EVENTS, &lost_without_fault);
    assert_violates(V::MarksWithoutIds, TWO_EVENTS, &lost_without_fault);
    assert_violates(V::ReadDuringObserve, SMALL, &lost_without_fault);
    // A mark that is cleared too early does harm if its holder does not get to the write.
    assert_violates(V::ClearBeforeExecute, SMALL, &[MARK_KEPT, SEEN_IS_MARKED]);
    assert_violates(V::ClearBeforeExecute, ONE_FAULT, &lost);
    assert_violates(V::ClearBeforeObserve, ONE_FAULT, &lost);
    assert_violates(V::ClearWithoutRecord, TWO_FAULTS, &lost);
    assert_violates(V::UnsettledContinues, CLEARS_FAIL, &[PASSES_END]);
    assert_violates(V::VersionsRepeat, ONE_FAULT, &[VERSIONS_GROW, ONE_WRITER]);
    assert_violates(V::ReleaseWithoutOwner, ONE_FAULT, &[LEASE_RESPECTED]);
}
