//! Choices that a seed decides (SplitMix64): the same seed makes the same history everywhere.

#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `end`, without it.
    pub(crate) fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.next() % u64::from(end)).unwrap()
    }

    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let place = self.below(u32::try_from(from.len()).unwrap());
        &from[usize::try_from(place).unwrap()]
    }

    /// Up to `most` of them, in any order; some of them twice, perhaps.
    pub(crate) fn some<T: Clone>(&mut self, from: &[T], most: u32) -> Vec<T> {
        let count = self.below(most + 1);
        (0..count).map(|_| self.pick(from).clone()).collect()
    }
}
