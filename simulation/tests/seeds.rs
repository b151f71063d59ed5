//! A fixed set of schedules, and those that once found something.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

use std::collections::BTreeSet;

use scaling_simulation::crash_points::KINDS;
use scaling_simulation::faults::Fault;
use scaling_simulation::regressions;
use scaling_simulation::run::{Options, Outcome, run};
use scaling_simulation::with_timers;

/// As many as a minute allows three times over on a slow machine.
const SEEDS: u64 = 240;

/// Runs a seed in which nothing may be violated; else its end is shown, and how to see it again.
fn holds(seed: u64) -> Outcome {
    let outcome = run(seed, &Options::default());
    let Some(violation) = &outcome.violation else {
        return outcome;
    };
    let traced = Options {
        traced: 200,
        ..Options::default()
    };
    let trace = run(seed, &traced).trace.join("\n");
    panic!("{trace}\nseed {seed}: {violation}\nagain: make simulate SEED={seed}");
}

#[test]
fn every_rule_holds_in_a_fixed_set_of_schedules() {
    with_timers(|| {
        let mut struck = BTreeSet::new();
        let mut steps = 0;
        for seed in 1..=SEEDS {
            let outcome = holds(seed);
            steps += outcome.steps;
            struck.extend(outcome.faults.into_keys());
        }
        println!("{SEEDS} schedules, {steps} steps");
        let all = BTreeSet::from(Fault::ALL);
        assert_eq!(struck, all, "every kind of fault strikes somewhere");
    });
}

#[test]
fn what_was_found_once_does_not_come_back() {
    let kept = regressions::kept();
    assert!(!kept.is_empty());
    with_timers(|| {
        for seed in kept {
            holds(seed);
        }
    });
}

#[test]
fn a_seed_runs_the_same_every_time() {
    let traced = Options {
        traced: usize::MAX,
        ..Options::default()
    };
    with_timers(|| {
        for seed in [3, 17, 171] {
            let (once, twice) = (run(seed, &traced), run(seed, &traced));
            assert!(once.trace.len() > 100, "{} lines", once.trace.len());
            assert_eq!(once.trace, twice.trace);
        }
    });
}

#[test]
fn every_call_that_a_schedule_makes_has_its_crash_points() {
    with_timers(|| {
        let numbered: BTreeSet<_> = KINDS
            .iter()
            .flat_map(|kind| kind.run(None, false).calls.into_keys())
            .collect();
        let made: BTreeSet<_> = (1..=60)
            .flat_map(|seed| run(seed, &Options::default()).calls)
            // A client's call, and a wait: the one is no function's, the other changes nothing.
            .filter(|call| !["assign", "sleep"].contains(call))
            .collect();
        let missing: Vec<_> = made.difference(&numbered).collect();
        assert!(
            missing.is_empty(),
            "no kind of invocation makes {missing:?}"
        );
        assert!(numbered.len() > 20, "{numbered:?}");
    });
}
