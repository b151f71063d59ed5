//! A fixed set of schedules, and the seeds that once found a bug.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

use std::collections::BTreeSet;

use scaling_simulation::crash_points::INVOCATIONS;
use scaling_simulation::faults::Fault;
use scaling_simulation::regressions;
use scaling_simulation::run::{Options, Outcome, run};
use scaling_simulation::with_timers;

/// As many as take a third of a minute on a slow machine.
const SEEDS: u64 = 240;

/// Runs a seed, which must not violate an invariant. If it does, the panic shows the end of the
/// trace and the command that repeats the run.
fn run_without_violation(seed: u64) -> Outcome {
    let outcome = run(seed, &Options::default());
    let Some(violation) = &outcome.violation else {
        return outcome;
    };
    let traced = Options {
        traced: 200,
        ..Options::default()
    };
    let trace = run(seed, &traced).trace.join("\n");
    panic!("{trace}\nseed {seed}: {violation}\nrepeat it: make simulate SEED={seed}");
}

#[test]
fn fixed_seeds_violate_no_invariant() {
    with_timers(|| {
        let mut occurred = BTreeSet::new();
        let mut steps = 0;
        for seed in 1..=SEEDS {
            let outcome = run_without_violation(seed);
            steps += outcome.steps;
            occurred.extend(outcome.faults.into_keys());
        }
        println!("{SEEDS} schedules, {steps} steps");
        let all = BTreeSet::from(Fault::ALL);
        assert_eq!(occurred, all, "every kind of fault occurs in some schedule");
    });
}

#[test]
fn regression_seeds_violate_no_invariant() {
    let seeds = regressions::seeds();
    assert!(!seeds.is_empty());
    with_timers(|| {
        for seed in seeds {
            run_without_violation(seed);
        }
    });
}

#[test]
fn same_seed_gives_same_trace() {
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
fn every_call_has_crash_points() {
    with_timers(|| {
        let covered: BTreeSet<_> = INVOCATIONS
            .iter()
            .flat_map(|invocation| invocation.run(None, false).calls.into_keys())
            .collect();
        let made: BTreeSet<_> = (1..=60)
            .flat_map(|seed| run(seed, &Options::default()).calls)
            // A client makes `assign`, and `sleep` has no effect.
            .filter(|call| !["assign", "sleep"].contains(call))
            .collect();
        let missing: Vec<_> = made.difference(&covered).collect();
        assert!(
            missing.is_empty(),
            "no invocation makes the calls {missing:?}"
        );
        assert!(covered.len() > 20, "{covered:?}");
    });
}
