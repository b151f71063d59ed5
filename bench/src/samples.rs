//! Many measurements of one thing.

use std::time::{Duration, Instant};

#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Times `work`, `times` times.
    pub fn of<T>(times: usize, mut work: impl FnMut() -> T) -> Self {
        (0..times)
            .map(|_| {
                let started = Instant::now();
                std::hint::black_box(work());
                started.elapsed()
            })
            .collect()
    }

    pub fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest sample that at least `percent` percent of the samples do not exceed; zero
    /// without samples.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }

    pub fn min(&self) -> Duration {
        self.percentile(0)
    }

    pub fn median(&self) -> Duration {
        self.percentile(50)
    }

    pub fn max(&self) -> Duration {
        self.percentile(100)
    }
}

impl IntoIterator for Samples {
    type Item = Duration;
    type IntoIter = std::vec::IntoIter<Duration>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(samples: I) -> Self {
        Self(samples.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_is_one_of_the_samples() {
        let samples: Samples = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(samples.min(), Duration::from_millis(1));
        assert_eq!(samples.median(), Duration::from_millis(50));
        assert_eq!(samples.percentile(95), Duration::from_millis(95));
        assert_eq!(samples.max(), Duration::from_millis(100));
        let one: Samples = [Duration::from_millis(7)].into_iter().collect();
        assert_eq!(one.median(), Duration::from_millis(7));
        assert_eq!(Samples::default().median(), Duration::ZERO);
    }
}
