//! Figures of what was used: counts and sums, without users. They add up, over times and regions.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::RegionName;

/// The figures of a region from one time on: of an hour, or of a shorter step.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionUsage {
    pub region: RegionName,
    pub from: Timestamp,
    pub figures: Figures,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Sessions that got a slot, and those of them whose users had waited in line.
    pub sessions: u64,
    pub waited: u64,
    /// Users who left the line without a slot.
    pub unserved: u64,
    /// How long users were in line for these slots. Those who were not are in the first bucket.
    pub waits: Histogram,
    /// Sessions that ended, by the stored reason.
    pub ends: BTreeMap<String, u64>,
    /// How long those of them lasted whose users had connected.
    pub lengths: Histogram,
    /// Instances that were gone.
    pub instances_gone: u64,
    /// Those of them that had no session although nobody had drained them, by the stored reason.
    pub died_young: BTreeMap<String, u64>,
    /// Seconds of instances from launch to end, and of those with a session.
    pub machine_seconds: f64,
    pub occupied_seconds: f64,
    /// The same of slots.
    pub slot_seconds: f64,
    pub session_seconds: f64,
}

/// Counts by size, the smallest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram(pub Vec<Bucket>);

/// Sessions whose seconds are below a bound, and not below that of the bucket before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// None: without a bound.
    pub below: Option<f64>,
    pub sessions: u64,
}

impl Figures {
    /// Sessions whose users got their slot with the first request.
    pub fn at_once(&self) -> u64 {
        self.sessions.saturating_sub(self.waited)
    }

    /// The seconds in which instances had no session.
    pub fn empty_seconds(&self) -> f64 {
        (self.machine_seconds - self.occupied_seconds).max(0.0)
    }
}

impl AddAssign<&Figures> for Figures {
    fn add_assign(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.waited += other.waited;
        self.unserved += other.unserved;
        self.waits += &other.waits;
        add_reasons(&mut self.ends, &other.ends);
        self.lengths += &other.lengths;
        self.instances_gone += other.instances_gone;
        add_reasons(&mut self.died_young, &other.died_young);
        self.machine_seconds += other.machine_seconds;
        self.occupied_seconds += other.occupied_seconds;
        self.slot_seconds += other.slot_seconds;
        self.session_seconds += other.session_seconds;
    }
}

fn add_reasons(to: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>) {
    for (reason, count) in from {
        *to.entry(reason.clone()).or_default() += count;
    }
}

impl AddAssign<&Histogram> for Histogram {
    /// Buckets with one bound become one: hours of another release may have other bounds.
    fn add_assign(&mut self, other: &Self) {
        for bucket in &other.0 {
            match self.0.iter_mut().find(|it| it.below == bucket.below) {
                Some(mine) => mine.sessions += bucket.sessions,
                None => self.0.push(*bucket),
            }
        }
        let bound = |bucket: &Bucket| bucket.below.unwrap_or(f64::INFINITY);
        self.0.sort_by(|a, b| bound(a).total_cmp(&bound(b)));
    }
}

impl Histogram {
    /// All that was counted.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|bucket| bucket.sessions).sum()
    }

    /// How many are below a number of seconds, which should be a bound.
    pub fn below(&self, seconds: f64) -> u64 {
        let within = |bucket: &&Bucket| bucket.below.is_some_and(|below| below <= seconds);
        let buckets = self.0.iter().filter(within);
        buckets.map(|bucket| bucket.sessions).sum()
    }

    /// The largest bound: what is not below it may be of any size.
    pub fn longest_bound(&self) -> Option<f64> {
        let bounds = self.0.iter().filter_map(|bucket| bucket.below);
        bounds.reduce(f64::max)
    }

    /// The bucket in which a share (above 0, up to 1) of all is reached; none if nothing was counted.
    pub fn bucket_at(&self, share: f64) -> Option<Bucket> {
        let needed = (share * self.total() as f64).ceil().max(1.0);
        let mut seen = 0;
        let reaches = |bucket: &&Bucket| {
            seen += bucket.sessions;
            seen as f64 >= needed
        };
        self.0.iter().find(reaches).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(counts: &[(Option<f64>, u64)]) -> Histogram {
        let bucket = |&(below, sessions): &(Option<f64>, u64)| Bucket { below, sessions };
        Histogram(counts.iter().map(bucket).collect())
    }

    #[test]
    fn sum_of_figures_has_each_count_and_each_reason() {
        let one = Figures {
            sessions: 5,
            waited: 2,
            unserved: 1,
            waits: histogram(&[(Some(1.0), 4), (None, 1)]),
            ends: [("AGENT".to_owned(), 3)].into(),
            lengths: histogram(&[(Some(60.0), 3), (None, 0)]),
            instances_gone: 2,
            died_young: [("LOST".to_owned(), 1)].into(),
            machine_seconds: 100.0,
            occupied_seconds: 40.0,
            slot_seconds: 400.0,
            session_seconds: 50.0,
        };
        let mut sum = one.clone();
        sum += &Figures::default();
        assert_eq!(sum, one);
        sum += &one;
        sum += &Figures {
            ends: [("USER".to_owned(), 1)].into(),
            ..Figures::default()
        };
        assert_eq!(
            sum,
            Figures {
                sessions: 10,
                waited: 4,
                unserved: 2,
                waits: histogram(&[(Some(1.0), 8), (None, 2)]),
                ends: [("AGENT".to_owned(), 6), ("USER".to_owned(), 1)].into(),
                lengths: histogram(&[(Some(60.0), 6), (None, 0)]),
                instances_gone: 4,
                died_young: [("LOST".to_owned(), 2)].into(),
                machine_seconds: 200.0,
                occupied_seconds: 80.0,
                slot_seconds: 800.0,
                session_seconds: 100.0,
            }
        );
        assert_eq!(sum.at_once(), 6);
        assert!((sum.empty_seconds() - 120.0).abs() < 1e-9);
    }

    #[test]
    fn buckets_with_other_bounds_keep_their_order() {
        let mut sum = histogram(&[(Some(1.0), 1), (None, 2)]);
        sum += &histogram(&[(Some(0.5), 3), (Some(1.0), 4), (None, 5)]);
        let expected = histogram(&[(Some(0.5), 3), (Some(1.0), 5), (None, 7)]);
        assert_eq!(sum, expected);
    }

    #[test]
    fn share_is_reached_in_the_bucket_of_its_rank() {
        let waits = histogram(&[(Some(1.0), 94), (Some(10.0), 1), (Some(60.0), 4), (None, 1)]);
        let at = |share| waits.bucket_at(share).unwrap().below;
        assert_eq!(at(0.5), Some(1.0));
        assert_eq!(at(0.94), Some(1.0));
        assert_eq!(at(0.95), Some(10.0));
        assert_eq!(at(0.96), Some(60.0));
        assert_eq!(at(1.0), None);
        assert_eq!(
            (waits.total(), waits.below(10.0), waits.below(60.0)),
            (100, 95, 99)
        );
        assert_eq!(histogram(&[(Some(1.0), 0), (None, 0)]).bucket_at(0.5), None);
    }
}
