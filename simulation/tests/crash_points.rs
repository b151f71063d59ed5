//! A function may die before and after each of its calls, and nothing is lost or leaked.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

use std::collections::BTreeMap;

use scaling_simulation::crash_points::{FinalState, INVOCATIONS, Invocation};
use scaling_simulation::with_timers;

/// Crashes an invocation at each of its yield points. Each time, the system must converge to the
/// same state as without a crash. Returns the number of crashes.
fn crash_everywhere(invocation: &Invocation) -> usize {
    let undisturbed = invocation.run(None, true);
    assert_eq!(
        undisturbed.violation,
        None,
        "{}: {}",
        invocation.name,
        undisturbed.trace.join("\n")
    );
    let crash_points = invocation.crash_points();
    for crash_point in &crash_points {
        let result = invocation.run(Some(*crash_point), false);
        let is_same = |state: &FinalState| {
            state.machines == undisturbed.final_state.machines
                && state.images == undisturbed.final_state.images
        };
        if result.violation.is_some() || !is_same(&result.final_state) {
            let result = invocation.run(Some(*crash_point), true);
            panic!(
                "{}, {crash_point:?}: {:?}, {:?} instead of {:?}\n{}",
                invocation.name,
                result.violation,
                result.final_state,
                undisturbed.final_state,
                result.trace.join("\n")
            );
        }
    }
    crash_points.len()
}

#[test]
fn upgrade_without_crash_ends_in_expected_states() {
    let (old, new) = ("ami-1", "ami-00000002");
    let swapped = [(old, "RETIRED"), (new, "CURRENT")];
    let stayed = [(old, "CURRENT"), (new, "FAILED")];
    let reverted = [(old, "CURRENT"), (new, "RETIRED")];
    let invocations = [
        ("request an image", swapped),
        ("request the image that warms", swapped),
        ("request the previous image", reverted),
        ("warm an image", swapped),
        ("swap to a warm image", swapped),
        ("set the app version to a warm image", swapped),
        ("fail an image after its deadline", stayed),
        ("fail an image that does not boot", stayed),
        ("swap back", reverted),
        ("retire the previous image", swapped),
    ];
    with_timers(|| {
        for (name, expected) in invocations {
            let invocation = INVOCATIONS.iter().find(|it| it.name == name).unwrap();
            let state = invocation.run(None, false).final_state;
            let images: BTreeMap<_, _> = state
                .images
                .iter()
                .map(|(id, state)| (id.as_str(), state.to_string()))
                .collect();
            let expected = expected.map(|(id, state)| (id, state.to_owned()));
            assert_eq!(images, BTreeMap::from(expected), "{name}");
            assert_eq!(state.machines, 2, "{name}: one buffer is left");
        }
    });
}

#[test]
fn crash_at_any_yield_point_loses_and_leaks_nothing() {
    with_timers(|| {
        let mut all = 0;
        for invocation in INVOCATIONS {
            let crashes = crash_everywhere(invocation);
            all += crashes;
            println!("{crashes:>4} crashes survived: {}", invocation.name);
        }
        println!("{all:>4} crashes in all");
        assert!(
            all > 1500,
            "only {all} crashes: are all yield points numbered?"
        );
    });
}
