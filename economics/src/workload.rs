//! A workload: every user's arrival and length of session, the same for all policies.

use crate::boots::Boots;
use crate::random::{LogNormal, Random};
use crate::trace::{Arrival, Counts, Trace};
use crate::{Millis, millis, seconds};

/// One user, who wants one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    pub arrives: Millis,
    /// How long their session lasts, from when they are served.
    pub session: Millis,
}

/// What a trace is read with.
#[derive(Clone, Debug)]
pub struct Reading {
    pub name: String,
    pub trace: Trace,
    /// How many sessions there are at a time on average. None: as many as the trace's counts make.
    pub load: Option<f64>,
    /// How long sessions last that the trace does not say, in seconds.
    pub sessions: LogNormal,
    /// How long machines take from their launch until their agent registers, in seconds.
    pub boots: LogNormal,
    /// Slots of an instance.
    pub slots: u32,
    /// What is measured begins after this part of the trace, in seconds.
    pub warm_up: f64,
}

#[derive(Clone, Debug)]
pub struct Workload {
    pub name: String,
    /// In the order of their arrivals.
    pub users: Vec<User>,
    pub boots: Boots,
    pub slots: u32,
    /// What is measured: from this time
    pub from: Millis,
    /// until this one, at which a run ends.
    pub until: Millis,
}

impl Reading {
    pub fn workload(&self, seed: u64) -> Workload {
        let mut arrivals = Random::stream(seed, &format!("arrivals of {}", self.name));
        let mut lengths = Random::stream(seed, &format!("sessions of {}", self.name));
        let mut length = |recorded: Option<f64>| {
            let seconds = recorded.unwrap_or_else(|| self.sessions.draw(&mut lengths));
            millis(seconds).max(1)
        };
        let (users, end) = match &self.trace {
            Trace::Counts(counts) => {
                let drawn = draw_arrivals(counts, self.factor(counts), &mut arrivals);
                let users = drawn.into_iter().map(|second| User {
                    arrives: millis(second),
                    session: length(None),
                });
                (users.collect(), counts.end)
            }
            Trace::Arrivals(recorded) => {
                let first = recorded.first().map_or(0.0, |arrival| arrival.second);
                let users: Vec<_> = recorded
                    .iter()
                    .map(|Arrival { second, session }| User {
                        arrives: millis(second - first),
                        session: length(*session),
                    })
                    .collect();
                let ends = users.iter().map(|user| user.arrives + user.session);
                let end = ends.max().map_or(0.0, seconds);
                (users, end)
            }
        };
        Workload {
            name: self.name.clone(),
            users,
            boots: self.boots.into(),
            slots: self.slots,
            from: millis(self.warm_up.min(end)),
            until: millis(end),
        }
    }

    /// What the counts are multiplied by.
    fn factor(&self, counts: &Counts) -> f64 {
        let Some(load) = self.load else { return 1.0 };
        load / self.sessions.mean() * counts.end / counts.total()
    }
}

/// A Poisson process, whose rate is linear between the middles of periods. Each piece is drawn at its
/// highest rate, and arrivals are left out where the rate is less.
fn draw_arrivals(counts: &Counts, factor: f64, random: &mut Random) -> Vec<f64> {
    let mut points = counts.rates();
    if let (Some(first), Some(last)) = (points.first().copied(), points.last().copied()) {
        points.insert(0, (0.0, first.1));
        points.push((counts.end, last.1));
    }
    let mut arrivals = vec![];
    for piece in points.windows(2) {
        let [(begin, at_begin), (end, at_end)] = *piece else {
            continue;
        };
        let highest = at_begin.max(at_end) * factor;
        if highest <= 0.0 {
            continue;
        }
        let mut at = begin + random.exponential(1.0 / highest);
        while at < end {
            let rate = at_begin + (at_end - at_begin) * (at - begin) / (end - begin);
            if random.chance(rate * factor / highest) {
                arrivals.push(at);
            }
            at += random.exponential(1.0 / highest);
        }
    }
    arrivals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(trace: Trace, load: Option<f64>) -> Reading {
        Reading {
            name: "test".to_owned(),
            trace,
            load,
            sessions: LogNormal::of_mean(1200.0, 1.0),
            boots: LogNormal::of_quantiles(60.0, 120.0),
            slots: 2,
            warm_up: 0.0,
        }
    }

    fn counts(periods: Vec<(f64, f64)>) -> Trace {
        Trace::Counts(Counts::of(periods).unwrap())
    }

    #[test]
    fn counts_are_scaled_to_the_load() {
        // 100 sessions at a time of 1,200 s are one arrival in 12 s: 7,200 in a day.
        let day = counts(vec![(0.0, 1.0), (43_200.0, 3.0)]);
        let workload = reading(day, Some(100.0)).workload(1);
        let users = workload.users.len();
        assert!((6_900..7_500).contains(&users), "{users}");
        let half = millis(43_200.0);
        let first = workload.users.iter().filter(|user| user.arrives < half);
        let first = first.count();
        // The rate is linear between the middles: 1 until 6 h, then up to 2 at noon.
        // (1 × 6 + 1.5 × 6) / (4 × 12) of the day's.
        assert!((2_050..2_450).contains(&first), "{first}");
        assert_eq!(workload.until, millis(86_400.0));
    }

    #[test]
    fn counts_without_a_load_are_as_they_are() {
        let workload = reading(counts(vec![(0.0, 500.0), (3600.0, 500.0)]), None).workload(1);
        let users = workload.users.len();
        assert!((900..1_100).contains(&users), "{users}");
    }

    #[test]
    fn workload_depends_on_the_seed_only() {
        let of = |seed| reading(counts(vec![(0.0, 50.0), (3600.0, 9.0)]), None).workload(seed);
        assert_eq!(of(1).users, of(1).users);
        assert_ne!(of(1).users, of(2).users);
    }

    #[test]
    fn recorded_arrivals_and_sessions_are_played_as_they_are() {
        let arrival = |second, session| Arrival {
            second,
            session: Some(session),
        };
        let recorded = Trace::Arrivals(vec![arrival(100.0, 30.0), arrival(101.5, 5.0)]);
        let workload = reading(recorded, Some(200.0)).workload(1);
        let user = |arrives, session| User { arrives, session };
        assert_eq!(workload.users, [user(0, 30_000), user(1_500, 5_000)]);
        assert_eq!(workload.until, 30_000);
    }
}
