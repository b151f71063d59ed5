//! Chance with a seed: what is drawn from the same dice is the same in every run.

use std::time::Duration;

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Of `seed`, for one of those who draw: each has dice of its own, so that none disturbs
    /// another's.
    pub fn of(seed: u64, who: &str) -> Self {
        let mut dice = Self(seed);
        for byte in who.bytes() {
            dice.0 ^= u64::from(byte);
            dice.0 = dice.next();
        }
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to one less than `sides`.
    ///
    /// # Panics
    /// Without a side.
    pub fn below(&mut self, sides: usize) -> usize {
        usize::try_from(self.next() % sides as u64).unwrap_or_default()
    }

    /// Whether it happened what happens so many times in a hundred.
    pub fn happens(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of them.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }

    /// At least 0 and less than 1.
    pub fn part(&mut self) -> f64 {
        // As many bits as a double's fraction has.
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.next() % (to - from + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_throws_the_same_and_each_who_draws_has_dice_of_his_own() {
        let thrown = |seed, who| {
            let mut dice = Dice::of(seed, who);
            (0..5).map(|_| dice.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(thrown(1, "a"), thrown(1, "a"));
        assert_ne!(thrown(1, "a"), thrown(1, "b"));
        assert_ne!(thrown(1, "a"), thrown(2, "a"));
    }

    #[test]
    fn parts_are_spread_over_the_whole() {
        let mut dice = Dice::of(1, "parts");
        let parts: Vec<_> = (0..1000).map(|_| dice.part()).collect();
        assert!(parts.iter().all(|part| (0.0..1.0).contains(part)));
        let mean = parts.iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
