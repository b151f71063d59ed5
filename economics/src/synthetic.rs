//! Made-up traffic: what a policy meets that nobody has recorded.
//!
//! Each is two weeks, of which the second is measured. Rates are given as multiples of the mean.

use crate::random::{LogNormal, Random};
use crate::trace::{Counts, Trace};
use crate::workload::Reading;

const PERIOD: f64 = 300.0;
const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;
const WEEK: f64 = 7.0 * DAY;
/// Sessions at a time on average. Less than of recorded traces: there are many of these.
const LOAD: f64 = 60.0;

/// All of them. `boots` and `slots` are those of the recorded traces, where nothing else is said.
pub fn all(boots: LogNormal, slots: u32) -> Vec<Reading> {
    let reading = |name: &str, rate: &dyn Fn(f64) -> f64| Reading {
        name: name.to_owned(),
        trace: Trace::Counts(counts(rate)),
        load: Some(LOAD),
        sessions: LogNormal::of_mean(1200.0, 1.0),
        boots,
        slots,
        warm_up: WEEK,
    };
    let bursts = random_bursts();
    let during = |at: f64, begin: f64, hours: f64| (begin..begin + hours * HOUR).contains(&at);
    vec![
        // Nights with a tenth of the traffic of afternoons, and quiet weekends.
        reading("days", &day),
        // A few times a day, ten minutes with eight times as many.
        reading("bursts", &|at| {
            let in_burst = bursts.iter().any(|begin| during(at, *begin, 1.0 / 6.0));
            if in_burst { 8.0 } else { 1.0 }
        }),
        // Once, without notice: twenty times as many for twenty minutes.
        reading("flash-crowd", &|at| {
            if during(at, WEEK + 3.0 * DAY, 1.0 / 3.0) {
                20.0
            } else {
                1.0
            }
        }),
        // From one day on, twice as many.
        reading("launch-day", &|at| {
            let factor = if at >= WEEK + 2.0 * DAY + 9.0 * HOUR {
                2.0
            } else {
                1.0
            };
            factor * day(at)
        }),
        // Ten users, who come three times a day each.
        Reading {
            load: Some(30.0 * 1200.0 / DAY),
            ..reading("ten-users", &day)
        },
        // Sessions of four hours on average.
        Reading {
            sessions: LogNormal::of_mean(4.0 * HOUR, 1.0),
            ..reading("long-sessions", &day)
        },
        // Boots of ten minutes.
        Reading {
            boots: LogNormal::of_quantiles(600.0, 900.0),
            ..reading("slow-boots", &day)
        },
    ]
}

fn counts(rate: &dyn Fn(f64) -> f64) -> Counts {
    let mut periods = vec![];
    let mut at = 0.0;
    while at < 2.0 * WEEK {
        periods.push((at, rate(at)));
        at += PERIOD;
    }
    Counts {
        periods,
        end: 2.0 * WEEK,
    }
}

/// The rate at a time of the week, which begins on a Monday.
fn day(at: f64) -> f64 {
    let hour = (at % DAY) / HOUR;
    let of_day = 1.0 + 0.82 * ((hour - 15.0) / 24.0 * std::f64::consts::TAU).cos();
    let is_weekend = (at % WEEK) / DAY >= 5.0;
    if is_weekend { 0.6 * of_day } else { of_day }
}

/// The same in each run, as recorded traces are: only who comes depends on the seed.
fn random_bursts() -> Vec<f64> {
    let mut random = Random::stream(1, "bursts");
    let mut begins = vec![];
    let mut at = 0.0;
    while at < 2.0 * WEEK {
        at += random.exponential(DAY / 3.0);
        begins.push(at);
    }
    begins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_traffic_has_its_load_and_its_events() {
        let boots = LogNormal::of_quantiles(60.0, 120.0);
        for reading in all(boots, 2) {
            let workload = reading.workload(1);
            let load = reading.load.unwrap();
            let expected = load / reading.sessions.mean() * 2.0 * WEEK;
            let users = workload.users.len() as f64;
            assert!(
                (users / expected - 1.0).abs() < 0.1,
                "{}: {users}",
                reading.name
            );
        }
    }

    #[test]
    fn nights_are_quiet() {
        assert!(day(3.0 * HOUR) < 0.2);
        assert!(day(15.0 * HOUR) > 1.8);
        assert!(day(5.0 * DAY + 15.0 * HOUR) < 1.2);
    }
}
