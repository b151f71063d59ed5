//! When users come: the same day for the same seed, whatever the service does.

use super::clock::DayTime;
use super::places::{PLACES, Place};
use crate::dice::Dice;

/// How busy each hour is at a place, by the clocks there, and in between in proportion: the night,
/// people who get up, the rush hour, lunch, the evening.
const CURVE: [(f64, f64); 16] = [
    (0.0, 0.15),
    (5.0, 0.05),
    (7.0, 0.4),
    (8.0, 1.0),
    (8.5, 1.6),
    (9.0, 4.5),
    (9.4, 4.5),
    (9.75, 1.5),
    (12.0, 1.2),
    (13.0, 0.7),
    (14.0, 1.2),
    (17.0, 1.3),
    (18.0, 0.9),
    (20.0, 1.4),
    (22.0, 0.7),
    (24.0, 0.15),
];

/// The rush hour, by the clocks of a place.
pub(super) const RUSH: (u32, u32) = (8 * 60 + 30, 9 * 60 + 45);

const MINUTES: u32 = 24 * 60;

/// From the publication of a client until everybody runs it, in seconds of the day: longer than
/// the image before is kept ready, so that some learn it by a refusal.
const ROLLOUT: f64 = 3.5 * 3_600.0;

/// How many run a new client as soon as it is published.
const FIRST_SHARE: f64 = 0.25;

/// A user who comes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arrival {
    pub(super) at: DayTime,
    /// Its index in [`PLACES`].
    pub(super) place: usize,
    pub(super) user: String,
    /// From 0 to 1: who comes first to a new client.
    pub(super) laggard: f64,
}

/// All users of a day in the order in which they come; `users` is how many are to be expected.
pub(super) fn arrivals(seed: u64, users: u32) -> Vec<Arrival> {
    let places = PLACES.iter().enumerate();
    let mut all: Vec<_> = places
        .flat_map(|(number, place)| arrivals_at(number, place, seed, users))
        .collect();
    all.sort_by(|a, b| (a.at, &a.user).cmp(&(b.at, &b.user)));
    all
}

/// A Poisson process: in the time in which users come evenly, the gaps are exponential.
fn arrivals_at(number: usize, place: &Place, seed: u64, users: u32) -> Vec<Arrival> {
    let mut dice = Dice::of(seed, place.region);
    let expected = expected_by_minute(place, users);
    let mut arrivals = Vec::new();
    let (mut before, mut next) = (0.0, gap(&mut dice));
    for (minute, by) in (0..MINUTES).zip(expected) {
        while next < by {
            let part = (next - before) / (by - before);
            arrivals.push(Arrival {
                at: DayTime(minute * 60 + (part * 60.0) as u32),
                place: number,
                user: format!("{}-{}", place.region, arrivals.len() + 1),
                laggard: dice.part(),
            });
            next += gap(&mut dice);
        }
        before = by;
    }
    arrivals
}

fn gap(dice: &mut Dice) -> f64 {
    -(1.0 - dice.part()).ln()
}

/// How many users are to be expected at a place by the end of each minute of the day.
fn expected_by_minute(place: &Place, users: u32) -> Vec<f64> {
    let weights: Vec<_> = (0..MINUTES)
        .map(|minute| weight(minute_there(place, minute)))
        .collect();
    let all = f64::from(users) * f64::from(place.share) / 100.0;
    let scale = all / weights.iter().sum::<f64>();
    let mut by = 0.0;
    let sum = weights.iter().map(|weight| {
        by += weight * scale;
        by
    });
    sum.collect()
}

/// The minute that clocks at a place show at a minute of the day.
pub(super) fn minute_there(place: &Place, minute: u32) -> u32 {
    minute.wrapping_add_signed(place.hours_ahead * 60 + MINUTES as i32) % MINUTES
}

/// When the clocks at a place show a minute.
pub(super) fn time_here(place: &Place, minute_there: u32) -> DayTime {
    let minute = minute_there.wrapping_add_signed(MINUTES as i32 - place.hours_ahead * 60);
    DayTime(minute % MINUTES * 60)
}

fn weight(minute: u32) -> f64 {
    let hour = f64::from(minute) / 60.0;
    let pair = CURVE.windows(2).find(|pair| hour < pair[1].0);
    pair.map_or(0.0, |pair| {
        let ((from, low), (to, high)) = (pair[0], pair[1]);
        low + (high - low) * (hour - from) / (to - from)
    })
}

/// Which part of the users runs a client that was published so many seconds ago.
pub(super) fn share_of_new(seconds: u32) -> f64 {
    (FIRST_SHARE + (1.0 - FIRST_SHARE) * f64::from(seconds) / ROLLOUT).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_day() {
        assert_eq!(arrivals(7, 300), arrivals(7, 300));
        assert_ne!(arrivals(7, 300), arrivals(8, 300));
    }

    #[test]
    fn so_many_users_come_as_are_expected_and_in_order() {
        let mean = (0..50).map(|seed| arrivals(seed, 500).len()).sum::<usize>() as f64 / 50.0;
        // The mean of fifty days is off by three: one deviation.
        assert!((490.0..510.0).contains(&mean), "{mean}");
        let day = arrivals(1, 500);
        assert!(day.is_sorted_by_key(|arrival| arrival.at));
        assert!(day.iter().all(|arrival| arrival.at < DayTime::END));
    }

    #[test]
    fn rates_add_up_to_the_users_of_each_place() {
        for place in &PLACES {
            let expected = expected_by_minute(place, 1000);
            let all = f64::from(place.share) * 10.0;
            assert!((expected.last().unwrap() - all).abs() < 1e-6);
            assert!(expected.is_sorted());
        }
        let shares: u32 = PLACES.iter().map(|place| place.share).sum();
        assert_eq!(shares, 100);
    }

    #[test]
    fn the_rush_hour_is_the_busiest_hour_by_the_clocks_of_the_place() {
        for (number, place) in PLACES.iter().enumerate() {
            let day = arrivals_at(number, place, 1, 100_000);
            let mut hours = [0; 24];
            for arrival in &day {
                hours[minute_there(place, arrival.at.0 / 60) as usize / 60] += 1;
            }
            let busiest = (0..24).max_by_key(|hour| hours[*hour]);
            assert_eq!(busiest, Some(9), "{}: {hours:?}", place.region);
            assert!(hours[4] * 10 < hours[12], "the night is quiet: {hours:?}");
        }
    }

    #[test]
    fn clocks_differ_from_place_to_place() {
        let times = PLACES
            .each_ref()
            .map(|place| time_here(place, RUSH.0).to_string());
        assert_eq!(times, ["08:30", "13:30", "16:30"]);
        for place in &PLACES {
            for minute in [0, 300, 719, 1439] {
                let here = time_here(place, minute).0 / 60;
                assert_eq!(minute_there(place, here), minute);
            }
        }
    }

    #[test]
    fn a_new_client_comes_to_everybody_in_the_end() {
        assert!((share_of_new(0) - 0.25).abs() < 1e-9);
        assert!((share_of_new(6_300) - 0.625).abs() < 1e-9);
        assert!((share_of_new(12_600) - 1.0).abs() < 1e-9);
        assert!((share_of_new(70_000) - 1.0).abs() < 1e-9);
    }
}
