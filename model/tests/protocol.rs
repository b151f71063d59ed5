//! All states of the model, within bounds; and that each property can be violated.

use std::collections::BTreeSet;

use scaling_model::{Action, Bounds, Protocol, Variant, name};
use stateright::{Checker, DiscoveryClassification, HasDiscoveries, Model};

type Names = BTreeSet<&'static str>;

const SMALL: Bounds = Bounds::SMALL;
const A_FAULT: Bounds = Bounds { faults: 1, ..SMALL };
const THREE_FAULTS: Bounds = Bounds { faults: 3, ..SMALL };

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

/// The checker keeps the last of what it finds before it stops: so it is asked for something
/// shorter as long as there is something.
fn shortest(protocol: Protocol, property: &'static str) -> Vec<Action> {
    let mut path = Vec::new();
    loop {
        let mut checker = protocol
            .checker()
            .finish_when(HasDiscoveries::AnyOf([property].into()));
        if !path.is_empty() {
            checker = checker.target_max_depth(path.len() + 1);
        }
        match checker.spawn_bfs().join().discovery(property) {
            Some(found) => path = found.into_actions(),
            None => return path,
        }
    }
}

fn holds(bounds: Bounds, examples: &[&'static str]) {
    let found = check(Variant::AsDesigned, bounds);
    assert_eq!(found.violated, Names::new());
    let missing: Vec<_> = examples
        .iter()
        .filter(|name| !found.examples.contains(*name))
        .collect();
    assert!(missing.is_empty(), "never happened: {missing:?}");
}

fn breaks(variant: Variant, bounds: Bounds, properties: &[&'static str]) {
    let found = check(variant, bounds);
    assert_eq!(
        found.violated,
        properties.iter().copied().collect(),
        "{variant:?}"
    );
}

#[test]
fn undisturbed_no_wake_is_lost_and_none_waits() {
    use name::{HANDED_OVER, SEEN_BEFORE, TURNED_AWAY};
    holds(TWO_EVENTS, &[TURNED_AWAY, SEEN_BEFORE, HANDED_OVER]);
}

#[test]
fn a_fault_while_two_events_come_loses_no_wake() {
    use name::{LATE_CLEAR, OUTRUN, SEEN_BEFORE};
    holds(TWO_EVENTS_AND_A_FAULT, &[OUTRUN, SEEN_BEFORE, LATE_CLEAR]);
}

#[test]
fn two_faults_among_several_passes_lose_no_wake() {
    holds(TWO_PASSES_AND_FAULTS, &[name::OUTRUN, name::LATE_CLEAR]);
}

/// What the schedule is for: a holder that dies between its clear and its look.
#[test]
fn three_faults_around_an_event_cost_no_more_than_a_dead_holder_takes() {
    holds(THREE_FAULTS, &[name::OUTRUN, name::DIED_WITH_MARK]);
}

#[test]
fn a_lock_behind_the_fence_is_lifted_whatever_fails() {
    holds(TABLE_MADE_ANEW, &[name::LIFTED, name::OUTRUN]);
}

/// With one rule broken, the checker says which properties go with it.
#[test]
fn every_rule_is_needed_and_every_property_can_fail() {
    use Variant as V;
    use name::*;
    let two_passes = Bounds {
        faults: 1,
        ..TWO_PASSES_AND_FAULTS
    };
    let undisturbed_and_anew = Bounds {
        faults: 0,
        ..TABLE_MADE_ANEW
    };
    let lost = [CLEARED_BY_LOOKER, WAKE_DURABLE];
    let lost_at_once = [CLEARED_BY_LOOKER, WAKE_DURABLE, NONE_WAITS];
    let never_looked = [NONE_WAITS, ALL_SEEN, AT_REST];
    let nobody_there = Bounds {
        at_once: 0,
        ..SMALL
    };
    breaks(V::AsDesigned, nobody_there, &[NEVER_STUCK]);
    breaks(V::NoFence, A_FAULT, &[ONE_WRITER]);
    breaks(V::NoOutbid, undisturbed_and_anew, &never_looked);
    breaks(V::NoReread, SMALL, &[NONE_WAITS]);
    breaks(V::ClearAfterLook, TWO_EVENTS, &lost_at_once);
    breaks(V::SeenBeforeMarked, SMALL, &[WAKE_DURABLE]);
    breaks(V::MarksWithoutIds, A_FAULT, &lost);
    breaks(V::VersionsStandStill, A_FAULT, &[VERSIONS_GROW, ONE_WRITER]);
    breaks(V::ReleaseOfAnyLock, A_FAULT, &[LEASE_KEPT]);
    breaks(V::OutrunForgetsMark, two_passes, &lost);
    breaks(V::MarkAgainKeepsOld, A_FAULT, &lost);
}

#[test]
fn marks_that_are_kept_until_a_look_outlive_every_holder() {
    let all = [
        TWO_EVENTS,
        TWO_EVENTS_AND_A_FAULT,
        TWO_PASSES_AND_FAULTS,
        THREE_FAULTS,
        TABLE_MADE_ANEW,
    ];
    for bounds in all {
        let found = check(Variant::KeepUntilLooked, bounds);
        assert_eq!(found.violated, Names::new());
        assert!(!found.examples.contains(name::DIED_WITH_MARK));
    }
}
