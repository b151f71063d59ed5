//! Seeded random numbers: the same seed gives the same numbers in every run.

use std::time::Duration;

/// One stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random(fastrand::Rng);

impl Random {
    /// The stream `name` of `seed`. Each task draws from a stream of its own, so that tasks which
    /// run at the same time do not change each other's numbers.
    pub fn new(seed: u64, name: &str) -> Self {
        let mixed = name.bytes().fold(seed, |seed, byte| {
            fastrand::Rng::with_seed(seed ^ u64::from(byte)).u64(..)
        });
        Self(fastrand::Rng::with_seed(mixed))
    }

    /// From 0 to `limit` - 1.
    ///
    /// # Panics
    /// When `limit` is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0.usize(..limit)
    }

    /// True with a probability of `percent` in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// An element of `items`.
    ///
    /// # Panics
    /// When `items` is empty.
    pub fn pick<'t, T>(&mut self, items: &'t [T]) -> &'t T {
        &items[self.below(items.len())]
    }

    /// At least 0 and less than 1.
    pub fn fraction(&mut self) -> f64 {
        self.0.f64()
    }

    /// From `shortest` to `longest` milliseconds, both included.
    ///
    /// # Panics
    /// When `longest` is less than `shortest`.
    pub fn millis(&mut self, shortest: u64, longest: u64) -> Duration {
        Duration::from_millis(self.0.u64(shortest..=longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_depend_on_the_seed_and_the_stream_only() {
        let numbers = |seed, name| {
            let mut random = Random::new(seed, name);
            (0..5).map(|_| random.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1, "a"), numbers(1, "a"));
        assert_ne!(numbers(1, "a"), numbers(1, "b"));
        assert_ne!(numbers(1, "a"), numbers(2, "a"));
    }

    #[test]
    fn fractions_are_spread_over_the_whole_range() {
        let mut random = Random::new(1, "fractions");
        let fractions: Vec<_> = (0..1000).map(|_| random.fraction()).collect();
        assert!(fractions.iter().all(|it| (0.0..1.0).contains(it)));
        let mean = fractions.iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
