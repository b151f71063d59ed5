//! Seeded random numbers: the same seed gives the same numbers in every run.
//!
//! The numbers are those of the locked version of `fastrand`; another version may give others, and
//! a seed then stands for another schedule.

use std::ops::RangeInclusive;

/// One stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random(fastrand::Rng);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A stream for one purpose. How many numbers are drawn from it does not change the numbers of
    /// this one.
    pub fn fork(&mut self) -> Self {
        Self(self.0.fork())
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// From 0 to `limit` - 1.
    ///
    /// # Panics
    /// When `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0.u64(..limit)
    }

    /// A number of `range`.
    ///
    /// # Panics
    /// When `range` is empty.
    pub fn between(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.0.u64(range)
    }

    /// True with a probability of `permille` in a thousand.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// An element of `items`.
    ///
    /// # Panics
    /// When `items` is empty.
    pub fn pick<'t, T>(&mut self, items: &'t [T]) -> &'t T {
        &items[self.0.usize(..items.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_depend_on_the_seed_only() {
        let numbers = |seed| {
            let mut random = Random::new(seed);
            (0..5).map(|_| random.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
    }

    #[test]
    fn numbers_of_a_fork_do_not_change_its_origin() {
        let next_after = |drawn: usize| {
            let mut random = Random::new(1);
            let mut fork = random.fork();
            for _ in 0..drawn {
                fork.next_u64();
            }
            random.next_u64()
        };
        assert_eq!(next_after(0), next_after(7));
    }

    #[test]
    fn numbers_fill_their_range() {
        let mut random = Random::new(7);
        let drawn: Vec<_> = (0..200).map(|_| random.between(3..=5)).collect();
        for value in 3..=5 {
            assert!(drawn.contains(&value), "{value}");
        }
        assert!(drawn.iter().all(|value| (3..=5).contains(value)));
    }
}
