//! The seeds that once found a bug, kept in `regressions.txt`.
//!
//! The three seeds of the list were found with an earlier generator of random numbers, so that
//! they now describe other schedules. What each of them found is described beside it.

const REGRESSIONS: &str = include_str!("../regressions.txt");

/// The seeds of the list: a number at the start of a line; the rest of the line says what it found.
pub fn seeds() -> Vec<u64> {
    REGRESSIONS
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect()
}
