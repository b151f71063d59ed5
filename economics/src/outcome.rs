//! What a run measures.

use crate::clairvoyant::{Session, overlap};
use crate::{Millis, seconds};

/// What slots were, in slot-milliseconds. All of a machine's slots count from its launch until it is
/// terminated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Occupied.
    pub used: Millis,
    /// Free, on machines without users.
    pub empty: Millis,
    /// Of machines that have not registered, or never did.
    pub booting: Millis,
    /// Free, on machines with users: they could not be drained.
    pub fragmented: Millis,
}

impl Time {
    pub fn total(&self) -> Millis {
        self.used + self.empty + self.booting + self.fragmented
    }
}

/// What happened within the measured time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub measured: Session,
    /// Slots of a machine.
    pub slots: u32,
    /// Who arrived,
    pub users: u64,
    /// who of them was not served at once,
    pub not_at_once: u64,
    /// and who of those gave up.
    pub gave_up: u64,
    /// How long those who were not served at once waited, until they were served or gave up, in
    /// increasing order. Without those who still wait.
    pub waits: Vec<Millis>,
    pub time: Time,
    pub launches: u64,
    pub passes: u64,
    /// All sessions that were served, before and after what is measured, too, by their beginnings.
    pub served: Vec<Session>,
}

impl Outcome {
    /// In machine-milliseconds.
    pub fn machine_time(&self) -> Millis {
        self.time.total() / Millis::from(self.slots.max(1))
    }

    pub fn machine_hours(&self) -> f64 {
        seconds(self.machine_time()) / 3600.0
    }

    /// The share of users who were not served at once.
    pub fn share_not_at_once(&self) -> f64 {
        self.not_at_once as f64 / self.users.max(1) as f64
    }

    /// The wait that this part of those who waited did not exceed, in seconds. None if nobody waited.
    pub fn wait(&self, quantile: f64) -> Option<f64> {
        quantile_of(&self.waits, quantile).map(seconds)
    }

    pub fn launches_a_day(&self) -> f64 {
        let days = seconds(self.measured.end - self.measured.begin) / 86_400.0;
        self.launches as f64 / days.max(f64::MIN_POSITIVE)
    }

    /// The time in which served sessions were there, which is what `used` counts.
    pub fn session_time(&self) -> Millis {
        let served = self.served.iter();
        served.map(|session| overlap(*session, self.measured)).sum()
    }
}

/// Of sorted times, by the nearest rank.
pub(crate) fn quantile_of(sorted: &[Millis], quantile: f64) -> Option<Millis> {
    let rank = (sorted.len() as f64 * quantile).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_is_by_nearest_rank() {
        assert_eq!(quantile_of(&[], 0.5), None);
        assert_eq!(quantile_of(&[7], 0.99), Some(7));
        let hundred: Vec<_> = (1..=100).collect();
        assert_eq!(quantile_of(&hundred, 0.5), Some(50));
        assert_eq!(quantile_of(&hundred, 0.99), Some(99));
        assert_eq!(quantile_of(&hundred, 1.0), Some(100));
    }
}
