//! A function may die before and after each of its calls, and nothing is lost or leaked.
#![allow(clippy::panic, reason = "helpers of tests fail like tests")]

use scaling_simulation::crash_points::{KINDS, Kind};
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
        if ending.violation.is_some() || ending.ledger.machines != undisturbed.ledger.machines {
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
