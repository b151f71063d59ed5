//! A histogram as a table with bars: each row is a range of times.

use jiff::SignedDuration;
use shared::usage::figures::Histogram;

use super::words::span;
use crate::usage::FiguresStatus;

/// A histogram as rows with bars.
pub(super) struct Distribution {
    pub(super) rows: Vec<BucketRow>,
}

pub(super) struct BucketRow {
    pub(super) range: String,
    pub(super) sessions: u64,
    pub(super) share: String,
    /// Of 100, for the bar.
    pub(super) width: String,
}

/// The waits, with those who had none in a row of their own.
pub(super) fn waits(total: &FiguresStatus) -> Distribution {
    let mut waited = total.waits.clone();
    if let Some(first) = waited.0.first_mut() {
        first.sessions = first.sessions.saturating_sub(total.at_once);
    }
    let mut distribution = distribution_of(&waited, total.sessions, total.at_once);
    let at_once = row("at once".to_owned(), total.at_once, total.sessions, {
        most(&waited).max(total.at_once)
    });
    distribution.rows.insert(0, at_once);
    distribution
}

pub(super) fn distribution(histogram: &Histogram) -> Distribution {
    distribution_of(histogram, histogram.total(), 0)
}

/// `all` is what shares are of, and `longest` what the longest bar is for, at least.
fn distribution_of(histogram: &Histogram, all: u64, longest: u64) -> Distribution {
    let longest = most(histogram).max(longest);
    let mut from = None;
    let mut rows = Vec::new();
    for bucket in &histogram.0 {
        let range = match (from, bucket.below) {
            (_, None) => format!("{} or longer", seconds(from.unwrap_or_default())),
            (None, Some(below)) => format!("less than {}", seconds(below)),
            (Some(from), Some(below)) => format!("{} to {}", seconds(from), seconds(below)),
        };
        rows.push(row(range, bucket.sessions, all, longest));
        from = bucket.below;
    }
    Distribution { rows }
}

fn most(histogram: &Histogram) -> u64 {
    let buckets = histogram.0.iter().map(|bucket| bucket.sessions);
    buckets.max().unwrap_or_default()
}

fn row(range: String, sessions: u64, all: u64, longest: u64) -> BucketRow {
    BucketRow {
        range,
        sessions,
        share: share(sessions as f64, all as f64),
        width: format!("{:.1}", 100.0 * sessions as f64 / longest.max(1) as f64),
    }
}

pub(super) fn seconds(seconds: f64) -> String {
    span(SignedDuration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// `12 %`, `0.4 %`; a dash if there is nothing to have a share of.
pub(super) fn share(part: f64, all: f64) -> String {
    let percent = 100.0 * part / all;
    match percent {
        _ if all <= 0.0 => "–".to_owned(),
        ..=0.0 => "0 %".to_owned(),
        ..1.0 => format!("{percent:.1} %"),
        // Not all is not 100 %.
        99.5..100.0 => format!("{percent:.1} %"),
        _ => format!("{percent:.0} %"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use shared::usage::figures::Bucket;

    use super::*;

    fn histogram(counts: &[(Option<f64>, u64)]) -> Histogram {
        let bucket = |&(below, sessions): &(Option<f64>, u64)| Bucket { below, sessions };
        Histogram(counts.iter().map(bucket).collect())
    }

    /// The figures of sessions that waited so long: by the bounds of the histogram.
    pub(in crate::page) fn figures(at_once: u64, waits: &[(Option<f64>, u64)]) -> FiguresStatus {
        let waits = histogram(waits);
        let sessions = waits.total();
        FiguresStatus {
            sessions,
            at_once,
            waited: sessions - at_once,
            waits,
            ..FiguresStatus::default()
        }
    }

    #[test]
    fn waits_have_a_row_for_those_who_had_none() {
        let waits = waits(&figures(6, &[(Some(1.0), 7), (Some(60.0), 2), (None, 1)]));
        let rows: Vec<_> = waits
            .rows
            .iter()
            .map(|row| {
                format!(
                    "{}: {}, {}, {}",
                    row.range, row.sessions, row.share, row.width
                )
            })
            .collect();
        let expected = [
            "at once: 6, 60 %, 100.0",
            "less than 1 s: 1, 10 %, 16.7",
            "1 s to 1 min: 2, 20 %, 33.3",
            "1 min or longer: 1, 10 %, 16.7",
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn share_shows_that_some_are_not_none_and_most_not_all() {
        for (part, all, text) in [
            (0.0, 0.0, "–"),
            (0.0, 9.0, "0 %"),
            (1.0, 1_000.0, "0.1 %"),
            (1.0, 8.0, "12 %"),
            (999.0, 1_000.0, "99.9 %"),
            (8.0, 8.0, "100 %"),
        ] {
            assert_eq!(share(part, all), text, "{part} of {all}");
        }
    }
}
