//! Formats times, numbers and names for people. Times are in UTC, because regions and readers are in
//! many time zones.

use jiff::{SignedDuration, Timestamp};

/// `1 user`, `2 users`, `3 passes`.
pub(super) fn count(n: impl Into<u64>, of: &str) -> String {
    let n = n.into();
    let ending = match n {
        1 => "",
        _ if of.ends_with('s') => "es",
        _ => "s",
    };
    format!("{n} {of}{ending}")
}

/// `45 s`, `3 min`, `2 h 5 min`, `3 days`: rounded down.
pub(super) fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) if minutes % 60 == 0 => format!("{hours} h"),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        (1, _, _) => "1 day".to_owned(),
        _ => format!("{days} days"),
    }
}

/// `3 min ago`, `in 2 h`.
pub(super) fn distance(now: Timestamp, then: Timestamp) -> String {
    let since = now.duration_since(then);
    if since.as_secs() < 0 {
        format!("in {}", span(-since))
    } else {
        format!("{} ago", span(since))
    }
}

/// `04:35:12`.
pub(super) fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M:%S").to_string()
}

/// `04:35`.
pub(super) fn hour(time: Timestamp) -> String {
    time.strftime("%H:%M").to_string()
}

/// `2026-11-22 04:35:12 UTC`.
pub(super) fn full(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The first nine characters of a commit's hash.
pub(super) fn short_sha(sha: &str) -> &str {
    sha.get(..9).unwrap_or(sha)
}

/// `i-1`, `i-1 and i-2`, `i-1, i-2, i-3 and 4 others`.
pub(super) fn names(names: &[&str]) -> String {
    const NAMED: usize = 3;
    match names {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [all @ .., last] if names.len() <= NAMED => format!("{} and {last}", all.join(", ")),
        _ => {
            let others = names.len() - NAMED;
            let ending = if others == 1 { "" } else { "s" };
            format!("{} and {others} other{ending}", names[..NAMED].join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_has_singular_and_plural() {
        assert_eq!(count(0u32, "user"), "0 users");
        assert_eq!(count(1u32, "user"), "1 user");
        assert_eq!(count(12u64, "user"), "12 users");
        assert_eq!(count(2u64, "pass"), "2 passes");
    }

    #[test]
    fn span_is_rounded_to_its_largest_units() {
        for (seconds, text) in [
            (-5, "0 s"),
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_599, "59 min"),
            (3_600, "1 h"),
            (7_500, "2 h 5 min"),
            (86_399, "23 h 59 min"),
            (86_400, "1 day"),
            (3 * 86_400 + 5, "3 days"),
        ] {
            assert_eq!(span(SignedDuration::from_secs(seconds)), text, "{seconds}");
        }
    }

    #[test]
    fn times_are_relative_or_in_utc() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let then = now - SignedDuration::from_secs(200);
        assert_eq!(distance(now, then), "3 min ago");
        assert_eq!(distance(then, now), "in 3 min");
        assert_eq!(distance(now, now), "0 s ago");
        assert_eq!(clock(then), "11:56:40");
        assert_eq!(hour(then), "11:56");
        assert_eq!(full(then), "2026-01-01 11:56:40 UTC");
    }

    #[test]
    fn hash_is_cut_and_shorter_text_is_not() {
        let sha = "9d4ad9c1f3b0e0b2f6d1f0a7c3f2b8e5a1c6d7e8";
        assert_eq!(short_sha(sha), "9d4ad9c1f");
        assert_eq!(short_sha("ä"), "ä");
    }
}
