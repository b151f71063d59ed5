//! When users arrive: the same for the same seed, whatever the service does.

use super::clock::DayTime;
use super::regions::{DemoRegion, REGIONS};
use crate::random::Random;

/// Points (local hour, rate of arrivals relative to other hours) with straight lines between them:
/// the night, the morning, the rush hour, lunch, the evening.
const RATE_CURVE: [(f64, f64); 16] = [
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

/// The rush hour, in minutes of the local day.
pub(super) const RUSH_HOUR: (u32, u32) = (8 * 60 + 30, 9 * 60 + 45);

const MINUTES_PER_DAY: u32 = 24 * 60;

/// Simulated seconds from the publication of a client until all users run it. This is longer than
/// the bake time of the old image, so that some users learn of the new client by a refusal.
const UPDATE_SECONDS: f64 = 3.5 * 3_600.0;

/// The share of users who run a new client as soon as it is published.
const FIRST_SHARE: f64 = 0.25;

/// The arrival of a user.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arrival {
    pub(super) at: DayTime,
    /// The index in [`REGIONS`].
    pub(super) region: usize,
    pub(super) user: String,
    /// From 0 to 1: the user runs a new client once this share of users does.
    pub(super) update_order: f64,
}

/// All arrivals of a day, sorted by time. `users` is their expected number.
pub(super) fn arrivals(seed: u64, users: u32) -> Vec<Arrival> {
    let regions = REGIONS.iter().enumerate();
    let mut all: Vec<_> = regions
        .flat_map(|(index, region)| arrivals_in(index, region, seed, users))
        .collect();
    all.sort_by(|a, b| (a.at, &a.user).cmp(&(b.at, &b.user)));
    all
}

/// A Poisson process whose rate changes over the day: measured in expected arrivals instead of
/// minutes, the gaps between users are exponentially distributed.
fn arrivals_in(index: usize, region: &DemoRegion, seed: u64, users: u32) -> Vec<Arrival> {
    let mut random = Random::new(seed, region.name);
    let expected = expected_by_minute(region, users);
    let mut arrivals = Vec::new();
    let (mut before, mut next) = (0.0, gap(&mut random));
    for (minute, by) in (0..MINUTES_PER_DAY).zip(expected) {
        while next < by {
            let fraction = (next - before) / (by - before);
            arrivals.push(Arrival {
                at: DayTime(minute * 60 + (fraction * 60.0) as u32),
                region: index,
                user: format!("{}-{}", region.name, arrivals.len() + 1),
                update_order: random.fraction(),
            });
            next += gap(&mut random);
        }
        before = by;
    }
    arrivals
}

fn gap(random: &mut Random) -> f64 {
    -(1.0 - random.fraction()).ln()
}

/// The expected number of users who have arrived in a region by the end of each minute of the day.
fn expected_by_minute(region: &DemoRegion, users: u32) -> Vec<f64> {
    let weights: Vec<_> = (0..MINUTES_PER_DAY)
        .map(|minute| weight(local_minute(region, minute)))
        .collect();
    let all = f64::from(users) * f64::from(region.share) / 100.0;
    let scale = all / weights.iter().sum::<f64>();
    let mut arrived = 0.0;
    let sums = weights.iter().map(|weight| {
        arrived += weight * scale;
        arrived
    });
    sums.collect()
}

/// Converts a UTC minute of the day to the local minute of a region.
pub(super) fn local_minute(region: &DemoRegion, minute: u32) -> u32 {
    minute.wrapping_add_signed(region.hours_ahead * 60 + MINUTES_PER_DAY as i32) % MINUTES_PER_DAY
}

/// Converts a local minute of the day in a region to UTC.
pub(super) fn utc_time(region: &DemoRegion, local_minute: u32) -> DayTime {
    let minute = local_minute.wrapping_add_signed(MINUTES_PER_DAY as i32 - region.hours_ahead * 60);
    DayTime(minute % MINUTES_PER_DAY * 60)
}

/// The relative rate of arrivals at a local minute.
fn weight(minute: u32) -> f64 {
    let hour = f64::from(minute) / 60.0;
    let pair = RATE_CURVE.windows(2).find(|pair| hour < pair[1].0);
    pair.map_or(0.0, |pair| {
        let ((from, low), (to, high)) = (pair[0], pair[1]);
        low + (high - low) * (hour - from) / (to - from)
    })
}

/// The share of users who run a client that was published this number of simulated seconds ago.
pub(super) fn share_of_new(seconds: u32) -> f64 {
    (FIRST_SHARE + (1.0 - FIRST_SHARE) * f64::from(seconds) / UPDATE_SECONDS).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_depend_on_the_seed_only() {
        assert_eq!(arrivals(7, 300), arrivals(7, 300));
        assert_ne!(arrivals(7, 300), arrivals(8, 300));
    }

    #[test]
    fn arrivals_are_sorted_and_as_many_as_expected() {
        let mean = (0..50).map(|seed| arrivals(seed, 500).len()).sum::<usize>() as f64 / 50.0;
        // The standard deviation of the mean of fifty days is three.
        assert!((490.0..510.0).contains(&mean), "{mean}");
        let day = arrivals(1, 500);
        assert!(day.is_sorted_by_key(|arrival| arrival.at));
        assert!(day.iter().all(|arrival| arrival.at < DayTime::END));
    }

    #[test]
    fn rates_add_up_to_the_share_of_each_region() {
        for region in &REGIONS {
            let expected = expected_by_minute(region, 1000);
            let all = f64::from(region.share) * 10.0;
            assert!((expected.last().unwrap() - all).abs() < 1e-6);
            assert!(expected.is_sorted());
        }
        let shares: u32 = REGIONS.iter().map(|region| region.share).sum();
        assert_eq!(shares, 100);
    }

    #[test]
    fn rush_hour_is_the_busiest_local_hour() {
        for (index, region) in REGIONS.iter().enumerate() {
            let day = arrivals_in(index, region, 1, 100_000);
            let mut hours = [0; 24];
            for arrival in &day {
                hours[local_minute(region, arrival.at.0 / 60) as usize / 60] += 1;
            }
            let busiest = (0..24).max_by_key(|hour| hours[*hour]);
            assert_eq!(busiest, Some(9), "{}: {hours:?}", region.name);
            assert!(hours[4] * 10 < hours[12], "the night is quiet: {hours:?}");
        }
    }

    #[test]
    fn local_times_convert_to_utc_and_back() {
        let times = REGIONS
            .each_ref()
            .map(|region| utc_time(region, RUSH_HOUR.0).to_string());
        assert_eq!(times, ["08:30", "13:30", "16:30"]);
        for region in &REGIONS {
            for minute in [0, 300, 719, 1439] {
                let utc = utc_time(region, minute).0 / 60;
                assert_eq!(local_minute(region, utc), minute);
            }
        }
    }

    #[test]
    fn share_of_a_new_client_grows_to_all_users() {
        assert!((share_of_new(0) - 0.25).abs() < 1e-9);
        assert!((share_of_new(6_300) - 0.625).abs() < 1e-9);
        assert!((share_of_new(12_600) - 1.0).abs() < 1e-9);
        assert!((share_of_new(70_000) - 1.0).abs() < 1e-9);
    }
}
