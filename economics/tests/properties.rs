//! What holds for every run.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic")]

use scaling_economics::clairvoyant::{foresee, lower_bound};
use scaling_economics::outcome::Outcome;
use scaling_economics::policy::{POLICIES, Policy};
use scaling_economics::random::LogNormal;
use scaling_economics::run::{Conditions, run};
use scaling_economics::trace::{Counts, Trace};
use scaling_economics::workload::{Reading, Workload};

const HOUR: f64 = 3600.0;

/// Four hours with a burst, of which the last three are measured.
fn workload(seed: u64, slots: u32) -> Workload {
    let counts = Counts::of(vec![
        (0.0, 3.0),
        (HOUR, 2.0),
        (2.0 * HOUR, 6.0),
        (3.0 * HOUR, 1.0),
    ]);
    let reading = Reading {
        name: "burst".to_owned(),
        trace: Trace::Counts(counts.unwrap()),
        load: Some(20.0),
        sessions: LogNormal::of_mean(1200.0, 1.0),
        boots: LogNormal::of_quantiles(60.0, 120.0),
        slots,
        warm_up: HOUR,
    };
    reading.workload(seed)
}

fn play(workload: &Workload, target: u32, conditions: &Conditions) -> Outcome {
    run(workload, &POLICIES[0], target, conditions).unwrap()
}

#[test]
fn each_run_costs_at_least_the_bound_of_what_it_served() {
    for seed in 1..4 {
        let slots = u32::try_from(2 * seed).unwrap();
        let workload = workload(seed, slots);
        for target in [1, 6] {
            let conditions = Conditions {
                seed,
                ..Conditions::default()
            };
            let outcome = play(&workload, target, &conditions);
            // Boots may be shorter than the mean, so that the bound counts none.
            let bound = lower_bound(&outcome.served, slots, 0, outcome.measured);
            let time = outcome.machine_time();
            assert!(
                time >= bound,
                "seed {seed}, target {target}: {time} < {bound}"
            );
            assert_eq!(outcome.time.used, outcome.session_time());
            assert!(outcome.not_at_once <= outcome.users);
            assert_eq!(outcome.users > 0, outcome.launches > 0);
        }
    }
}

#[test]
fn clairvoyant_costs_at_most_what_every_run_costs_that_serves_all() {
    for seed in 1..4 {
        let workload = workload(seed, 2);
        let outcome = play(
            &workload,
            24,
            &Conditions {
                seed,
                ..Conditions::default()
            },
        );
        assert_eq!(outcome.not_at_once, 0, "seed {seed}");
        let foresight = foresee(&workload);
        assert!(foresight.clairvoyant < outcome.machine_time());
        assert!(foresight.lower_bound <= foresight.clairvoyant);
    }
}

#[test]
fn run_is_the_same_again_and_another_with_another_seed() {
    let workload = workload(1, 2);
    let rough = |seed| {
        let conditions = Conditions {
            seed,
            ..Conditions::default()
        };
        play(&workload, 4, &conditions.rough())
    };
    assert_eq!(rough(1), rough(1));
    assert_ne!(rough(1), rough(2));
}

#[test]
fn larger_buffer_costs_more_and_lets_fewer_wait() {
    let workload = workload(1, 2);
    let [less, more] = [1, 12].map(|target| play(&workload, target, &Conditions::default()));
    assert!(less.machine_time() < more.machine_time());
    assert!(less.not_at_once > more.not_at_once);
    assert_eq!(
        less.waits.len() as u64,
        less.not_at_once,
        "all were served or gave up"
    );
}

#[test]
fn failed_boots_and_empty_pools_cost_time_and_users_who_wait() {
    let workload = workload(1, 2);
    let good = play(&workload, 4, &Conditions::default());
    let rough = Conditions {
        failed_boots: 0.3,
        no_capacity: 0.3,
        ..Conditions::default().rough()
    };
    let bad = play(&workload, 4, &rough);
    assert!(bad.not_at_once > good.not_at_once);
    assert!(bad.time.booting > good.time.booting);
}

#[test]
fn one_instance_a_pass_lets_more_wait_than_many() {
    let workload = workload(1, 2);
    let of = |name| {
        let policy = Policy::named(name).unwrap();
        run(&workload, policy, 6, &Conditions::default()).unwrap()
    };
    assert!(of("fixed-by-one").not_at_once >= of("fixed").not_at_once);
    assert!(of("fixed-by-one").machine_time() > of("fixed").machine_time());
}

#[test]
fn adaptive_costs_less_than_a_fixed_buffer_with_as_few_waits() {
    // Half a day of which two hours have eight times the traffic.
    let counts = (0..12).map(|hour| {
        let rate = if (5..7).contains(&hour) { 8.0 } else { 1.0 };
        (f64::from(hour) * HOUR, rate)
    });
    let reading = Reading {
        name: "rush".to_owned(),
        trace: Trace::Counts(Counts::of(counts.collect()).unwrap()),
        load: Some(40.0),
        sessions: LogNormal::of_mean(1200.0, 1.0),
        boots: LogNormal::of_quantiles(60.0, 120.0),
        slots: 2,
        warm_up: HOUR,
    };
    let workload = reading.workload(1);
    let of = |name, parameter| {
        let policy = Policy::named(name).unwrap();
        run(&workload, policy, parameter, &Conditions::default()).unwrap()
    };
    let adaptive = of("adaptive", 200);
    assert!(adaptive.share_not_at_once() < 0.01, "{adaptive:?}");
    let fixed = [2, 4, 6, 8, 12, 16, 24, 32, 48, 64].map(|target| of("fixed", target));
    let mut as_good = fixed
        .iter()
        .filter(|fixed| fixed.not_at_once <= adaptive.not_at_once);
    let least = as_good.next().unwrap().machine_time();
    assert!(adaptive.machine_time() < least);
}
