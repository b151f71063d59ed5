//! Sections of the report, in Markdown that is also readable in a terminal.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::samples::Samples;
use crate::table::{self, Align};

/// What a report prints, and counts the goals of.
pub trait Figures: fmt::Display {
    /// The name of each figure that has a goal, and whether the goal is met.
    fn goals(&self) -> Vec<(String, bool)>;
}

/// A value with its unit. Quantities of the same kind can be compared.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum Quantity {
    Time(Duration),
    Bytes(u64),
    Count(u64),
    PerSecond(f64),
    Ratio(f64),
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Time(time) => {
                let seconds = time.as_secs_f64();
                let (value, unit) = match seconds {
                    s if s < 1e-6 => (s * 1e9, "ns"),
                    s if s < 1e-3 => (s * 1e6, "µs"),
                    s if s < 1.0 => (s * 1e3, "ms"),
                    s => (s, "s"),
                };
                write!(f, "{} {unit}", ThreeDigits(value))
            }
            // Lambda's limits on sizes are read as powers of ten, too, to be on the safe side.
            Self::Bytes(bytes) => write!(f, "{:.2} MB", bytes as f64 / 1e6),
            Self::Count(count) => write!(f, "{count}"),
            Self::PerSecond(rate) => write!(f, "{}/s", ThreeDigits(rate)),
            Self::Ratio(ratio) => write!(f, "{ratio:.2}"),
        }
    }
}

/// More than three digits would be noise.
struct ThreeDigits(f64);

impl fmt::Display for ThreeDigits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.0 {
            value if value < 10.0 => 2,
            value if value < 100.0 => 1,
            _ => 0,
        };
        write!(f, "{:.digits$}", self.0)
    }
}

/// One figure. `value` is compared with the goal; with samples, it is their median.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    name: String,
    value: Quantity,
    /// The 95th percentile and the maximum.
    spread: Option<(Quantity, Quantity)>,
    samples: usize,
    goal: Option<Quantity>,
}

impl Row {
    pub fn timed(name: impl Into<String>, samples: &Samples) -> Self {
        Self {
            spread: Some((
                Quantity::Time(samples.percentile(95)),
                Quantity::Time(samples.max()),
            )),
            samples: samples.count(),
            ..Self::single(name, Quantity::Time(samples.median()))
        }
    }

    pub fn single(name: impl Into<String>, value: Quantity) -> Self {
        Self {
            name: name.into(),
            value,
            spread: None,
            samples: 1,
            goal: None,
        }
    }

    /// Sets the number of samples of which the value is the mean or the maximum.
    #[must_use]
    pub fn samples(mut self, samples: usize) -> Self {
        self.samples = samples;
        self
    }

    #[must_use]
    pub fn at_most(mut self, goal: Quantity) -> Self {
        self.goal = Some(goal);
        self
    }

    /// None without a goal.
    fn is_met(&self) -> Option<bool> {
        self.goal.map(|goal| self.value <= goal)
    }

    fn cells(&self) -> [String; 6] {
        let (p95, max) = self.spread.map_or_else(Default::default, |(p95, max)| {
            (p95.to_string(), max.to_string())
        });
        let goal = match (self.goal, self.is_met()) {
            (Some(goal), Some(true)) => format!("≤ {goal}: met"),
            (Some(goal), _) => format!("≤ {goal}: MISSED"),
            (None, _) => String::new(),
        };
        [
            self.name.clone(),
            self.value.to_string(),
            p95,
            max,
            self.samples.to_string(),
            goal,
        ]
    }
}

/// Figures that were measured in the same way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Section {
    pub title: String,
    /// How they were measured.
    pub method: String,
    pub rows: Vec<Row>,
}

const COLUMNS: [(&str, Align); 6] = [
    ("figure", Align::Left),
    ("p50 or value", Align::Right),
    ("p95", Align::Right),
    ("max", Align::Right),
    ("samples", Align::Right),
    ("goal", Align::Left),
];

impl Figures for Section {
    fn goals(&self) -> Vec<(String, bool)> {
        let goals = self.rows.iter().filter_map(|row| {
            let met = row.is_met()?;
            Some((row.name.clone(), met))
        });
        goals.collect()
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<_> = self.rows.iter().map(|row| row.cells().to_vec()).collect();
        writeln!(f, "## {}\n\n{}\n", self.title, self.method)?;
        table::write(f, &COLUMNS, &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantity_is_printed_with_three_digits_and_unit() {
        let time = |nanos| Quantity::Time(Duration::from_nanos(nanos)).to_string();
        assert_eq!(time(87), "87.0 ns");
        assert_eq!(time(1_234_567), "1.23 ms");
        assert_eq!(time(123_456), "123 µs");
        assert_eq!(Quantity::Bytes(2_345_678).to_string(), "2.35 MB");
    }

    #[test]
    fn section_is_printed_as_table() {
        let section = Section {
            title: "assign".to_owned(),
            method: "with a clock".to_owned(),
            rows: vec![
                Row::single("requests", Quantity::Count(1)).at_most(Quantity::Count(1)),
                Row::single("size", Quantity::Bytes(3_000_000)).at_most(Quantity::Bytes(2_500_000)),
            ],
        };
        let expected = "\
## assign

with a clock

| figure   | p50 or value | p95 | max | samples | goal              |
|----------|-------------:|----:|----:|--------:|-------------------|
| requests |            1 |     |     |       1 | ≤ 1: met          |
| size     |      3.00 MB |     |     |       1 | ≤ 2.50 MB: MISSED |
";
        assert_eq!(section.to_string(), expected);
    }
}
