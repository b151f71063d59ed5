//! Draws a region's history as an SVG path: steps, because counts do not change between passes, and
//! gaps where no pass ran.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use shared::history::Point;
use shared::scaling::Counts;

use super::words::hour;

/// In SVG units; the page scales the chart.
const WIDTH: i64 = 300;
const HEIGHT: u32 = 60;

/// Points in one column are drawn as one value: closer points could not be distinguished.
const COLUMNS: i64 = 150;

/// The shortest time that a chart spans, so that a young region's points are not squeezed at the
/// right edge.
const LEAST: SignedDuration = SignedDuration::from_mins(10);

/// Which value of a column is drawn: the one that matters to users.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keep {
    Least,
    Most,
    Last,
}

/// One line of a chart.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub(super) name: &'static str,
    /// Its class in the style sheet. Lines also differ in their dashes.
    pub(super) class: &'static str,
    pub(super) of: fn(&Counts) -> u32,
    pub(super) keep: Keep,
}

pub(super) struct Drawn {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    /// The attribute `d` of an SVG `path`.
    pub(super) path: String,
    /// The same, closed along the bottom.
    pub(super) area: String,
}

pub(super) struct Chart {
    /// What it shows, for screen readers.
    pub(super) label: String,
    pub(super) lines: Vec<Drawn>,
    /// The value at the top.
    pub(super) top: u32,
    pub(super) from: String,
    pub(super) until: String,
}

/// The time range of a chart.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) now: Timestamp,
    pub(super) window: SignedDuration,
    /// Between points further apart than this nothing is drawn: the state was unknown.
    pub(super) gap: SignedDuration,
}

struct Column {
    x: i64,
    at: Timestamp,
    value: u32,
}

impl Chart {
    /// None without a point.
    pub(super) fn of(points: &[Point], frame: Frame, lines: &[Line]) -> Option<Self> {
        let first = points.first()?.at;
        let earliest = frame.now.checked_sub(frame.window).ok()?;
        let least = frame.now.checked_sub(LEAST).ok()?;
        let from = first.max(earliest).min(least);
        let columns: Vec<_> = lines
            .iter()
            .map(|line| columns(points, from, frame.now, line))
            .collect();
        let values = columns.iter().flatten().map(|column| column.value);
        let top = values.max()?.max(1);
        let drawn = lines.iter().zip(&columns).map(|(line, columns)| {
            let (path, area) = steps(columns, top, frame);
            let Line { name, class, .. } = *line;
            Drawn {
                name,
                class,
                path,
                area,
            }
        });
        Some(Self {
            label: label(points, from, frame.now, lines),
            lines: drawn.collect(),
            top,
            from: hour(from),
            until: hour(frame.now),
        })
    }
}

fn columns(points: &[Point], from: Timestamp, now: Timestamp, line: &Line) -> Vec<Column> {
    let span = now.duration_since(from).as_millis().max(1);
    let mut columns: Vec<Column> = Vec::new();
    for point in points.iter().filter(|point| point.at >= from) {
        let along = point.at.min(now).duration_since(from).as_millis();
        let place = along * i128::from(COLUMNS) / span;
        let x = i64::try_from(place).unwrap_or(COLUMNS) * WIDTH / COLUMNS;
        let value = (line.of)(&point.counts);
        match columns.last_mut().filter(|last| last.x == x) {
            Some(last) => {
                last.at = point.at;
                last.value = match line.keep {
                    Keep::Least => last.value.min(value),
                    Keep::Most => last.value.max(value),
                    Keep::Last => value,
                };
            }
            None => columns.push(Column {
                x,
                at: point.at,
                value,
            }),
        }
    }
    columns
}

/// The line, and the area below it.
fn steps(columns: &[Column], top: u32, frame: Frame) -> (String, String) {
    let y = |value: u32| HEIGHT - (u64::from(value) * u64::from(HEIGHT) / u64::from(top)) as u32;
    let (mut path, mut area) = (String::new(), String::new());
    for run in columns.chunk_by(|a, b| b.at.duration_since(a.at) <= frame.gap) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            continue;
        };
        let mut line = String::new();
        for column in run {
            // Writing to a string cannot fail.
            let _ = write!(line, "H{}V{}", column.x, y(column.value));
        }
        if frame.now.duration_since(last.at) <= frame.gap {
            let _ = write!(line, "H{WIDTH}");
        } else {
            let _ = write!(line, "h1");
        }
        let _ = write!(path, "M{} {}{line}", first.x, y(first.value));
        let _ = write!(area, "M{} {HEIGHT}{line}V{HEIGHT}Z", first.x);
    }
    (path, area)
}

fn label(points: &[Point], from: Timestamp, now: Timestamp, lines: &[Line]) -> String {
    let shown = || points.iter().filter(|point| point.at >= from);
    let mut label = format!("From {} to {} UTC.", hour(from), hour(now));
    for line in lines {
        let value = |point: &Point| (line.of)(&point.counts);
        let Some(last) = shown().next_back() else {
            continue;
        };
        let extreme = match line.keep {
            Keep::Least => shown().min_by_key(|point| value(point)),
            Keep::Most => shown().max_by_key(|point| value(point)),
            Keep::Last => None,
        };
        let name = line.name;
        let _ = write!(label, " {name}: {} now", value(last));
        if let Some(extreme) = extreme {
            let word = if matches!(line.keep, Keep::Least) {
                "fewest"
            } else {
                "most"
            };
            let (value, at) = (value(extreme), hour(extreme.at));
            let _ = write!(label, ", {word} {value} at {at}");
        }
        label.push('.');
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: SignedDuration = SignedDuration::from_secs(180);
    const FREE: Line = Line {
        name: "Free",
        class: "free",
        of: |counts| counts.free,
        keep: Keep::Least,
    };

    fn now() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    fn frame() -> Frame {
        Frame {
            now: now(),
            window: SignedDuration::from_hours(3),
            gap: GAP,
        }
    }

    /// Seconds ago, and free slots.
    fn points(all: &[(i64, u32)]) -> Vec<Point> {
        let point = |(ago, free): &(i64, u32)| Point {
            at: now() - SignedDuration::from_secs(*ago),
            counts: Counts {
                free: *free,
                target: 4,
                ..Counts::default()
            },
        };
        all.iter().map(point).collect()
    }

    fn path(all: &[(i64, u32)]) -> String {
        let chart = Chart::of(&points(all), frame(), &[FREE]).unwrap();
        chart.lines[0].path.clone()
    }

    #[test]
    fn chart_without_points_is_none() {
        assert!(Chart::of(&[], frame(), &[FREE]).is_none());
    }

    #[test]
    fn value_is_drawn_until_the_next_point_and_the_last_one_until_now() {
        // Ten minutes are 300 wide: 120 s are 60.
        assert_eq!(path(&[(120, 4), (60, 2)]), "M240 0H240V0H270V30H300");
    }

    #[test]
    fn time_without_passes_is_a_gap() {
        assert_eq!(path(&[(600, 4), (240, 4)]), "M0 0H0V0h1M180 0H180V0h1");
    }

    #[test]
    fn lowest_value_of_a_column_is_drawn() {
        let window: Vec<_> = (0..1080).rev().map(|n| (n * 10, 4)).collect();
        let mut dip = window.clone();
        dip[500].1 = 0;
        assert_ne!(path(&window), path(&dip));
        assert!(path(&dip).contains(&format!("V{HEIGHT}")), "{}", path(&dip));
        assert!(path(&dip).len() < 4_000, "{} bytes", path(&dip).len());
    }

    #[test]
    fn chart_spans_the_window_or_at_least_ten_minutes() {
        let from = |all: &[(i64, u32)]| {
            let chart = Chart::of(&points(all), frame(), &[FREE]).unwrap();
            (chart.from, chart.until)
        };
        let until = "12:00".to_owned();
        assert_eq!(from(&[(30, 1)]), ("11:50".to_owned(), until.clone()));
        assert_eq!(
            from(&[(3_600, 1), (0, 1)]),
            ("11:00".to_owned(), until.clone())
        );
        assert_eq!(from(&[(90_000, 1), (0, 1)]), ("09:00".to_owned(), until));
    }

    #[test]
    fn label_describes_each_line() {
        let target = Line {
            name: "Wanted",
            class: "target",
            of: |counts| counts.target,
            keep: Keep::Last,
        };
        let all = points(&[(600, 4), (300, 0), (0, 3)]);
        let chart = Chart::of(&all, frame(), &[FREE, target]).unwrap();
        let said = "From 11:50 to 12:00 UTC. Free: 3 now, fewest 0 at 11:55. Wanted: 4 now.";
        assert_eq!(chart.label, said);
        assert_eq!(chart.top, 4);
    }

    #[test]
    fn point_in_the_future_is_drawn_at_the_right_edge() {
        let path = path(&[(-50, 1), (-50, 1)]);
        assert_eq!(path, "M300 0H300V0H300");
    }
}
