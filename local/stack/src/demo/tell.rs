//! Lines with the time of the day in front.

use super::clock::DayTime;

/// Of a line, for terminals that are not wide.
const WIDTH: usize = 98;

pub(super) fn line(time: DayTime, text: &str) -> String {
    hanging(&format!("{time}  "), text)
}

/// The text after its head, and further lines of it below itself.
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
pub(super) fn count(number: usize, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        number => format!("{number} {one}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_sentence_goes_on_below_itself() {
        let text = "word ".repeat(30);
        let told = line(DayTime::at(9, 5), text.trim_end());
        let lines: Vec<_> = told.lines().collect();
        assert!(lines[0].starts_with("09:05  word"));
        assert!(lines[1].starts_with("       word"));
        assert!(lines.iter().all(|line| line.len() <= WIDTH));
        assert_eq!(told.split_whitespace().count(), 31);
    }

    #[test]
    fn spaces_in_a_row_stay() {
        assert_eq!(line(DayTime::at(0, 0), "a   b"), "00:00  a   b");
    }

    #[test]
    fn one_has_no_plural() {
        assert_eq!(count(1, "user"), "1 user");
        assert_eq!(count(0, "user"), "0 users");
    }
}
