//! Numbers for the ids of new resources.

/// Maps a counter to a number that looks random.
///
/// Under one `seed`, different counters never give the same number: `SplitMix64`'s output function
/// is a bijection.
pub(super) fn pseudo_random(seed: u64, counter: u64) -> u64 {
    let mut z = seed.wrapping_add(counter.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
