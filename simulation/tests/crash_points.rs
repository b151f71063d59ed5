//! A function may die before and after each of its calls, and nothing is lost or leaked.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

use std::collections::BTreeMap;

use scaling_simulation::crash_points::{KINDS, Kind, Ledger};
use scaling_simulation::with_timers;

/// Everything must come to rest, where it comes to rest without a crash.
fn survives(kind: &Kind) -> usize {
    let undisturbed = kind.run(None, true);
    assert_eq!(
        undisturbed.violation,
        None,
        "{}: {}",
        kind.name,
        undisturbed.trace.join("\n")
    );
    let deaths = kind.deaths();
    for death in &deaths {
        let ending = kind.run(Some(*death), false);
        let is_like = |ledger: &Ledger| {
            ledger.machines == undisturbed.ledger.machines
                && ledger.images == undisturbed.ledger.images
        };
        if ending.violation.is_some() || !is_like(&ending.ledger) {
            let ending = kind.run(Some(*death), true);
            panic!(
                "{}, {death:?}: {:?}, {:?} instead of {:?}\n{}",
                kind.name,
                ending.violation,
                ending.ledger,
                undisturbed.ledger,
                ending.trace.join("\n")
            );
        }
    }
    deaths.len()
}

#[test]
fn upgrades_end_as_they_should_where_nobody_dies() {
    let (old, new) = ("ami-1", "ami-00000002");
    let swapped = [(old, "RETIRED"), (new, "CURRENT")];
    let stayed = [(old, "CURRENT"), (new, "FAILED")];
    let turned_back = [(old, "CURRENT"), (new, "RETIRED")];
    let kinds = [
        ("ask for an image", swapped),
        ("ask for the image that warms", swapped),
        ("ask for the image that was before", turned_back),
        ("warm an image", swapped),
        ("swap to an image that is warm", swapped),
        ("clients are told of a warm image", swapped),
        ("give up an image that is late", stayed),
        ("give up an image that does not come up", stayed),
        ("swap back", turned_back),
        ("retire the image before", swapped),
    ];
    with_timers(|| {
        for (name, expected) in kinds {
            let kind = KINDS.iter().find(|kind| kind.name == name).unwrap();
            let ledger = kind.run(None, false).ledger;
            let images: BTreeMap<_, _> = ledger
                .images
                .iter()
                .map(|(id, state)| (id.as_str(), state.to_string()))
                .collect();
            let expected = expected.map(|(id, state)| (id, state.to_owned()));
            assert_eq!(images, BTreeMap::from(expected), "{name}");
            assert_eq!(ledger.machines, 2, "{name}: one buffer is left");
        }
    });
}

#[test]
fn nothing_is_lost_or_leaked_wherever_a_function_dies() {
    with_timers(|| {
        let mut all = 0;
        for kind in KINDS {
            let deaths = survives(kind);
            all += deaths;
            println!("{deaths:>4} deaths survived: {}", kind.name);
        }
        println!("{all:>4} deaths in all");
        assert!(all > 1500, "only {all}: are gates still numbered?");
    });
}
