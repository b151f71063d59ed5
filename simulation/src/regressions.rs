//! The seeds that once found something, kept in `regressions.txt`.

const KEPT: &str = include_str!("../regressions.txt");

/// The kept seeds: a number at the start of a line, then what it found.
pub fn kept() -> Vec<u64> {
    KEPT.lines()
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect()
}
