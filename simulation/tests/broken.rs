//! Each check can fail: a world with one thing broken on purpose is found out, and by the check
//! that is there for it.

use std::collections::BTreeSet;

use scaling_simulation::broken::{Variant, variants};
use scaling_simulation::checks::Check;
use scaling_simulation::run::{Options, run_broken};
use scaling_simulation::with_timers;

/// More seeds than the rarest of these faults needs, should the known ones draw something else
/// one day.
const SEEDS: u64 = 600;

/// A seed in which its check finds the fault before any other does.
fn find(variant: &Variant) -> Option<(u64, String)> {
    let mut seeds = [variant.seed].into_iter().chain(1..=SEEDS);
    seeds.find_map(|seed| {
        let outcome = run_broken(seed, &Options::default(), variant.break_it);
        let violation = outcome.violation.filter(|v| v.check == variant.found_by)?;
        Some((seed, violation.text))
    })
}

#[test]
fn each_broken_variant_is_found_by_its_check() {
    with_timers(|| {
        let mut unfound = vec![];
        for variant in variants() {
            let Variant { name, found_by, .. } = variant;
            match find(variant) {
                Some((seed, text)) => println!("seed {seed:>3}, {found_by}: {name}: {text:.120}"),
                None => unfound.push(format!("{found_by}: {name}")),
            }
        }
        assert!(unfound.is_empty(), "not found: {unfound:?}");
    });
}

#[test]
fn each_check_is_seen_to_fail() {
    let all: BTreeSet<_> = Check::ALL.into_iter().collect();
    let seen: BTreeSet<_> = variants().map(|variant| variant.found_by).collect();
    assert_eq!(seen, all);
}
