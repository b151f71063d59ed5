//! All states of the model, within bounds; and that each property can be violated.

use std::collections::BTreeSet;

use scaling_model::{Action, Bounds, Protocol, Variant, name};
use stateright::{Checker, DiscoveryClassification, Model, Path};

type Names = BTreeSet<&'static str>;

const SMALL: Bounds = Bounds::SMALL;
const A_FAULT: Bounds = Bounds { faults: 1, ..SMALL };
const THREE_FAULTS: Bounds = Bounds { faults: 3, ..SMALL };
const THREE_EVENTS: Bounds = Bounds { events: 3, ..SMALL };

const TWO_EVENTS: Bounds = Bounds {
    events: 2,
    duplicates: 1,
    ..SMALL
};

const TWO_EVENTS_AND_A_FAULT: Bounds = Bounds {
    events: 2,
    ..A_FAULT
};

const TWO_PASSES_AND_FAULTS: Bounds = Bounds {
    schedules: 2,
    faults: 2,
    ..SMALL
};

const TABLE_MADE_ANEW: Bounds = Bounds {
    fence: 9,
    faults: 2,
    ..SMALL
};

const NOTHING_CLEARS: Bounds = Bounds {
    clears: false,
    ..SMALL
};

/// What the checker came upon in all states: properties that do not hold, and examples.
struct Found {
    violated: Names,
    examples: Names,
}

/// Visits every state, and prints how many there are and how a violation comes about.
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
        for action in shortest(protocol, property) {
            println!("    {action:?}");
        }
    }
    Found { violated, examples }
}

/// The shortest way to a violation: the checker keeps the last that it finds.
fn shortest(protocol: Protocol, property: &'static str) -> Vec<Action> {
    let found = (1..).find_map(|depth| {
        let checker = protocol.checker().target_max_depth(depth);
        checker.spawn_bfs().join().discovery(property)
    });
    found.map(Path::into_actions).unwrap_or_default()
}

fn holds(bounds: Bounds, examples: &[&'static str]) {
    let found = check(Variant::AsBuilt, bounds);
    assert_eq!(found.violated, Names::new());
    let examples: Names = examples.iter().copied().collect();
    let missing: Vec<_> = examples.difference(&found.examples).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}");
}

fn breaks(variant: Variant, bounds: Bounds, properties: &[&'static str]) {
    let found = check(variant, bounds);
    let properties: Names = properties.iter().copied().collect();
    assert_eq!(found.violated, properties, "{variant:?}");
}

#[test]
fn undisturbed_no_wake_is_lost_and_none_waits() {
    use name::{HANDED_OVER, SEEN_BEFORE, TURNED_AWAY};
    holds(TWO_EVENTS, &[TURNED_AWAY, SEEN_BEFORE, HANDED_OVER]);
    holds(THREE_EVENTS, &[TURNED_AWAY, HANDED_OVER]);
}

#[test]
fn a_fault_while_two_events_come_loses_no_wake() {
    use name::{LATE_CLEAR, OUTRUN, SEEN_BEFORE};
    holds(TWO_EVENTS_AND_A_FAULT, &[OUTRUN, SEEN_BEFORE, LATE_CLEAR]);
}

#[test]
fn two_faults_among_several_passes_lose_no_wake() {
    holds(TWO_PASSES_AND_FAULTS, &[name::OUTRUN]);
}

/// What the schedule is for: a mark that is left.
#[test]
fn three_faults_around_an_event_leave_it_to_the_schedule_at_worst() {
    holds(THREE_FAULTS, &[name::LEFT_MARKED]);
}

#[test]
fn a_lock_behind_the_fence_is_lifted_whatever_fails() {
    holds(TABLE_MADE_ANEW, &[name::LIFTED, name::OUTRUN]);
}

/// Only the mark stays: nobody follows it without an end.
#[test]
fn a_mark_that_is_never_cleared_waits_for_each_schedule() {
    breaks(Variant::AsBuilt, NOTHING_CLEARS, &[name::AT_REST]);
}

/// With one rule broken, the checker says which properties go with it.
#[test]
fn every_rule_is_needed_and_every_property_can_fail() {
    use Variant as V;
    use name::*;
    let nobody_there = Bounds {
        at_once: 0,
        ..SMALL
    };
    let undisturbed_and_anew = Bounds {
        faults: 0,
        ..TABLE_MADE_ANEW
    };
    let two_faults = Bounds { faults: 2, ..SMALL };
    let lost = [MARK_LASTS, WAKE_DURABLE, WAITS_MARKED];
    let lost_at_once = [MARK_LASTS, WAKE_DURABLE, WAITS_MARKED, NONE_WAITS];
    let never_done = [NONE_WAITS, ALL_DONE, AT_REST];
    breaks(V::AsBuilt, nobody_there, &[NEVER_STUCK]);
    breaks(V::NoFence, A_FAULT, &[ONE_WRITER]);
    breaks(V::NoOutbid, undisturbed_and_anew, &never_done);
    breaks(V::NoReread, SMALL, &[NONE_WAITS]);
    breaks(V::UnansweredReleaseLeaves, A_FAULT, &[NONE_WAITS]);
    breaks(V::SeenBeforeMarked, SMALL, &[WAKE_DURABLE]);
    breaks(V::MarkOnlyIfUnset, TWO_EVENTS, &lost_at_once);
    breaks(V::MarksWithoutIds, TWO_EVENTS, &lost_at_once);
    breaks(V::ReadWithLook, SMALL, &lost_at_once);
    // A mark that is taken too soon does harm when its holder does not come to act.
    breaks(V::ClearAfterLook, SMALL, &[MARK_LASTS, WAKE_DURABLE]);
    breaks(V::ClearAfterLook, A_FAULT, &lost);
    breaks(V::ClearBeforeLook, A_FAULT, &lost);
    breaks(V::ClearUnrecorded, two_faults, &lost);
    breaks(V::UnsettledGoesOn, NOTHING_CLEARS, &[NO_LOOP]);
    breaks(V::VersionsStandStill, A_FAULT, &[VERSIONS_GROW, ONE_WRITER]);
    breaks(V::ReleaseOfAnyLock, A_FAULT, &[LEASE_KEPT]);
}
