//! Every check can fail: it finds the defect of a world that is broken on purpose, before any other
//! check does.

use std::collections::BTreeSet;

use scaling_simulation::broken::{Variant, variants};
use scaling_simulation::checks::Check;
use scaling_simulation::run::{Options, run_broken};
use scaling_simulation::with_timers;

/// More seeds than the rarest of these defects needs, in case the known seeds come to stand for
/// other schedules.
const SEEDS: u64 = 600;

/// A seed in which the expected check finds the defect before any other check.
fn find(variant: &Variant) -> Option<(u64, String)> {
    let mut seeds = [variant.seed].into_iter().chain(1..=SEEDS);
    seeds.find_map(|seed| {
        let outcome = run_broken(seed, &Options::default(), variant.break_it);
        let violation = outcome.violation.filter(|v| v.check == variant.found_by)?;
        Some((seed, violation.text))
    })
}

#[test]
fn every_broken_variant_is_found_by_its_check() {
    with_timers(|| {
        let mut undetected = vec![];
        for variant in variants() {
            let Variant { name, found_by, .. } = variant;
            match find(variant) {
                Some((seed, text)) => println!("seed {seed:>3}, {found_by}: {name}: {text:.120}"),
                None => undetected.push(format!("{found_by}: {name}")),
            }
        }
        assert!(undetected.is_empty(), "not found: {undetected:?}");
    });
}

#[test]
fn every_check_has_a_broken_variant() {
    let all: BTreeSet<_> = Check::ALL.into_iter().collect();
    let failing: BTreeSet<_> = variants().map(|variant| variant.found_by).collect();
    assert_eq!(failing, all);
}
