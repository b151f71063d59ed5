//! Traces: how many users came when, from a CSV file.
//!
//! The first line names the columns, and so the kind of the file:
//!
//! | first line | each further line |
//! |---|---|
//! | `second,count` | requests counted from that second until the next line's |
//! | `arrival` | the second at which a user came |
//! | `arrival,session` | the same, and how many seconds their session lasted |
//!
//! Seconds may have fractions, count from any time, and must not decrease; those of counts must
//! increase. Empty lines and lines that begin with `#` are skipped.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// What a file says.
#[derive(Clone, Debug, PartialEq)]
pub enum Trace {
    Counts(Counts),
    Arrivals(Vec<Arrival>),
}

/// Requests per period.
#[derive(Clone, Debug, PartialEq)]
pub struct Counts {
    /// When each period begins, in seconds, and how many requests it has.
    pub periods: Vec<(f64, f64)>,
    /// The end of the last period.
    pub end: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    pub second: f64,
    /// How long the session lasted, if that was recorded.
    pub session: Option<f64>,
}

#[derive(Debug, Error)]
pub enum TraceError {
    #[error("read the trace {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{name}, line {line}: {problem}")]
    Line {
        name: String,
        line: usize,
        problem: String,
    },
    #[error("{name}: {problem}")]
    Whole { name: String, problem: String },
}

const KINDS: &str = "`second,count`, `arrival` or `arrival,session`";

impl Trace {
    /// # Errors
    /// When the file cannot be read, or a line is invalid: the error names it.
    pub fn read(path: &Path) -> Result<Self, TraceError> {
        let text = std::fs::read_to_string(path).map_err(|source| TraceError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// `name` is for errors.
    ///
    /// # Errors
    /// When a line is invalid.
    pub fn parse(name: &str, text: &str) -> Result<Self, TraceError> {
        let whole = |problem: &str| TraceError::Whole {
            name: name.to_owned(),
            problem: problem.to_owned(),
        };
        let mut lines = text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line.trim()))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let (line, header) = lines.next().ok_or_else(|| whole("the file is empty"))?;
        let in_line = |line, problem| TraceError::Line {
            name: name.to_owned(),
            line,
            problem,
        };
        let columns = match header {
            "second,count" | "arrival,session" => 2,
            "arrival" => 1,
            other => {
                let problem = format!("the columns are `{other}`: they must be {KINDS}");
                return Err(in_line(line, problem));
            }
        };
        let mut rows: Vec<(f64, f64)> = vec![];
        for (line, text) in lines {
            let row = row(text, columns).map_err(|problem| in_line(line, problem))?;
            let before = rows.last().map(|(second, _)| *second);
            check_order(before, row.0, header == "second,count")
                .map_err(|problem| in_line(line, problem))?;
            rows.push(row);
        }
        if header == "second,count" {
            return Counts::of(rows)
                .map(Self::Counts)
                .ok_or_else(|| whole("counts need at least two lines, and one that is not 0"));
        }
        if rows.is_empty() {
            return Err(whole("the file has no arrivals"));
        }
        let arrivals = rows.into_iter().map(|(second, session)| Arrival {
            second,
            session: (columns == 2).then_some(session),
        });
        Ok(Self::Arrivals(arrivals.collect()))
    }
}

fn row(text: &str, columns: usize) -> Result<(f64, f64), String> {
    let mut numbers = vec![];
    for field in text.split(',') {
        let number = field.trim().parse::<f64>().ok();
        let number = number.filter(|number| number.is_finite() && *number >= 0.0);
        numbers.push(number.ok_or_else(|| format!("`{field}` must be a number, and at least 0"))?);
    }
    match (columns, &numbers[..]) {
        (1, [second]) => Ok((*second, 0.0)),
        (2, [second, value]) => Ok((*second, *value)),
        _ => Err(format!(
            "it has {} fields instead of {columns}",
            numbers.len()
        )),
    }
}

fn check_order(before: Option<f64>, second: f64, strictly: bool) -> Result<(), String> {
    let Some(before) = before else { return Ok(()) };
    if second < before || (strictly && second <= before) {
        return Err(format!("second {second} must come after {before}"));
    }
    Ok(())
}

impl Counts {
    /// Counts from second 0 on. The last period is as long as the one before it. None for fewer than
    /// two periods, and without any request.
    pub fn of(mut periods: Vec<(f64, f64)>) -> Option<Self> {
        let (first, _) = *periods.first()?;
        for (second, _) in &mut periods {
            *second -= first;
        }
        let [.., (before, _), (last, _)] = periods[..] else {
            return None;
        };
        let counts = Self {
            end: last + (last - before),
            periods,
        };
        (counts.total() > 0.0).then_some(counts)
    }

    pub fn total(&self) -> f64 {
        self.periods.iter().map(|(_, count)| count).sum()
    }

    /// The same requests in a time that is longer by this factor.
    pub fn stretched(mut self, factor: f64) -> Self {
        for (second, _) in &mut self.periods {
            *second *= factor;
        }
        self.end *= factor;
        self
    }

    /// The same several times, one after the other.
    pub fn repeated(self, times: u32) -> Self {
        let of = |time: u32| {
            let offset = self.end * f64::from(time);
            let periods = self.periods.iter();
            periods.map(move |(second, count)| (second + offset, *count))
        };
        Self {
            periods: (0..times).flat_map(of).collect(),
            end: self.end * f64::from(times),
        }
    }

    /// The rate at the middle of each period, in requests a second.
    pub fn rates(&self) -> Vec<(f64, f64)> {
        let ends = self.periods.iter().skip(1).map(|(second, _)| *second);
        let ends = ends.chain([self.end]);
        let periods = self.periods.iter().zip(ends);
        periods
            .map(|((begin, count), end)| ((begin + end) / 2.0, count / (end - begin)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Trace::parse("t.csv", text).unwrap_err().to_string()
    }

    #[test]
    fn counts_begin_at_second_0_and_last_as_long_as_the_period_before() {
        let trace = Trace::parse("t.csv", "second,count\n# comment\n600,3\n\n900,5\n").unwrap();
        let Trace::Counts(counts) = trace else {
            panic!("{trace:?}")
        };
        assert_eq!(counts.periods, [(0.0, 3.0), (300.0, 5.0)]);
        assert_eq!(counts.end, 600.0);
        assert_eq!(counts.rates(), [(150.0, 0.01), (450.0, 5.0 / 300.0)]);
    }

    #[test]
    fn arrivals_may_have_sessions() {
        let trace = Trace::parse("t.csv", "arrival,session\n1.5,60\n1.5,3\n").unwrap();
        let arrival = |session| Arrival {
            second: 1.5,
            session: Some(session),
        };
        assert_eq!(trace, Trace::Arrivals(vec![arrival(60.0), arrival(3.0)]));
        let Trace::Arrivals(alone) = Trace::parse("t.csv", "arrival\n7\n").unwrap() else {
            panic!()
        };
        assert_eq!(alone[0].session, None);
    }

    #[test]
    fn invalid_line_is_named_with_what_it_should_be() {
        assert_eq!(
            error("time,requests\n"),
            "t.csv, line 1: the columns are `time,requests`: they must be `second,count`, `arrival` \
             or `arrival,session`"
        );
        assert_eq!(
            error("second,count\n0,1\n300,many\n"),
            "t.csv, line 3: `many` must be a number, and at least 0"
        );
        assert_eq!(
            error("second,count\n0,1\n\n0,2\n"),
            "t.csv, line 4: second 0 must come after 0"
        );
        assert_eq!(
            error("arrival\n4,5\n"),
            "t.csv, line 2: it has 2 fields instead of 1"
        );
        assert_eq!(error("\n"), "t.csv: the file is empty");
        assert_eq!(error("arrival\n"), "t.csv: the file has no arrivals");
        assert!(error("second,count\n0,0\n1,0\n").contains("one that is not 0"));
        assert!(error("second,count\n0,nan\n").contains("line 2"));
    }

    #[test]
    fn stretched_and_repeated_counts_keep_their_requests() {
        let counts = Counts::of(vec![(0.0, 4.0), (1.0, 2.0)]).unwrap();
        let longer = counts.stretched(10.0).repeated(3);
        assert_eq!(longer.total(), 18.0);
        assert_eq!(longer.end, 60.0);
        assert_eq!(longer.periods[2], (20.0, 4.0));
    }
}
