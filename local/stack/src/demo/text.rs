//! The format of printed lines, times and numbers.

use std::time::Duration;

use super::clock::DayTime;

/// The longest line, in characters, so that a terminal of 100 columns needs no wrapping.
const WIDTH: usize = 98;

/// A line with the time of day in front.
pub(super) fn line(time: DayTime, text: &str) -> String {
    hanging(&format!("{time}  "), text)
}

/// `head` and the text after it, wrapped and indented by the width of `head`.
pub(super) fn hanging(head: &str, text: &str) -> String {
    let indent = head.chars().count();
    let mut lines = head.to_owned();
    let mut width = indent;
    for word in text.split(' ') {
        let length = word.chars().count();
        if width > indent && width + 1 + length > WIDTH {
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            width = indent;
        } else if width > indent {
            lines.push(' ');
            width += 1;
        }
        lines.push_str(word);
        width += length;
    }
    lines
}

/// `1 user`, `2 users`.
pub(super) fn count(number: usize, singular: &str) -> String {
    match number {
        1 => format!("1 {singular}"),
        number => format!("{number} {singular}s"),
    }
}

/// `5 minutes`, `1 h 05 min`, rounded to minutes.
pub(super) fn duration(time: Duration) -> String {
    let minutes = (time.as_secs() + 30) / 60;
    match (minutes / 60, minutes % 60) {
        (0, 1) => "1 minute".to_owned(),
        (0, minutes) => format!("{minutes} minutes"),
        (hours, minutes) => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_line_is_wrapped_and_indented() {
        let text = "word ".repeat(30);
        let printed = line(DayTime::at(9, 5), text.trim_end());
        let lines: Vec<_> = printed.lines().collect();
        assert!(lines[0].starts_with("09:05  word"));
        assert!(lines[1].starts_with("       word"));
        assert!(lines.iter().all(|line| line.len() <= WIDTH));
        assert_eq!(printed.split_whitespace().count(), 31);
    }

    #[test]
    fn consecutive_spaces_are_kept() {
        assert_eq!(line(DayTime::at(0, 0), "a   b"), "00:00  a   b");
    }

    #[test]
    fn count_of_one_is_singular() {
        assert_eq!(count(1, "user"), "1 user");
        assert_eq!(count(0, "user"), "0 users");
    }

    #[test]
    fn durations_are_printed_in_minutes_and_hours() {
        let printed = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!(printed(20), "0 minutes");
        assert_eq!(printed(60), "1 minute");
        assert_eq!(printed(629), "10 minutes");
        assert_eq!(printed(3_900), "1 h 05 min");
    }
}
