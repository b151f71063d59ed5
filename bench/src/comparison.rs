//! Sections that compare two ways of doing the same thing, in several cases: a row for each case.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::section::{Figures, Quantity};
use crate::table::{self, Align, Column};

/// A figure of one case, which may have a goal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    value: Quantity,
    goal: Option<Goal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Goal {
    AtLeast(Quantity),
    AtMost(Quantity),
}

impl Cell {
    pub fn new(value: Quantity) -> Self {
        Self { value, goal: None }
    }

    #[must_use]
    pub fn at_least(mut self, goal: Quantity) -> Self {
        self.goal = Some(Goal::AtLeast(goal));
        self
    }

    #[must_use]
    pub fn at_most(mut self, goal: Quantity) -> Self {
        self.goal = Some(Goal::AtMost(goal));
        self
    }

    /// None without a goal.
    fn is_met(&self) -> Option<bool> {
        self.goal.map(|goal| match goal {
            Goal::AtLeast(goal) => self.value >= goal,
            Goal::AtMost(goal) => self.value <= goal,
        })
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.value)?;
        match (self.goal, self.is_met()) {
            (Some(Goal::AtLeast(goal)), Some(false)) => write!(f, " (MISSED: ≥ {goal})"),
            (Some(Goal::AtMost(goal)), Some(false)) => write!(f, " (MISSED: ≤ {goal})"),
            (Some(_), _) => write!(f, " (met)"),
            (None, _) => Ok(()),
        }
    }
}

/// Cases that were measured in the same way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Comparison {
    pub title: String,
    /// How they were measured.
    pub method: String,
    /// What each column is, apart from the first one, which names the cases.
    pub columns: Vec<String>,
    pub rows: Vec<(String, Vec<Cell>)>,
}

impl Figures for Comparison {
    fn goals(&self) -> Vec<(String, bool)> {
        let mut goals = Vec::new();
        for (case, cells) in &self.rows {
            for (column, cell) in self.columns.iter().zip(cells) {
                if let Some(met) = cell.is_met() {
                    goals.push((format!("{case}: {column}"), met));
                }
            }
        }
        goals
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self
            .columns
            .iter()
            .map(|name| (name.as_str(), Align::Right));
        let columns: Vec<Column<'_>> = [("case", Align::Left)].into_iter().chain(named).collect();
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|(case, cells)| {
                let cells = cells.iter().map(Cell::to_string);
                [case.clone()].into_iter().chain(cells).collect()
            })
            .collect();
        writeln!(f, "## {}\n\n{}\n", self.title, self.method)?;
        table::write(f, &columns, &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparison_is_printed_with_each_goal_and_lists_those_that_are_missed() {
        let half = Quantity::Ratio(0.5);
        let cells = |ratio| {
            vec![
                Cell::new(Quantity::PerSecond(120.0)),
                Cell::new(Quantity::Ratio(ratio)).at_least(half),
            ]
        };
        let comparison = Comparison {
            title: "assign".to_owned(),
            method: "side by side".to_owned(),
            columns: vec!["rate".to_owned(), "ratio".to_owned()],
            rows: vec![
                ("1 client".to_owned(), cells(0.6)),
                ("8 clients".to_owned(), cells(0.4)),
            ],
        };
        let expected = "\
## assign

side by side

| case      |  rate |                 ratio |
|-----------|------:|----------------------:|
| 1 client  | 120/s |            0.60 (met) |
| 8 clients | 120/s | 0.40 (MISSED: ≥ 0.50) |
";
        assert_eq!(comparison.to_string(), expected);
        assert_eq!(
            comparison.goals(),
            [
                ("1 client: ratio".to_owned(), true),
                ("8 clients: ratio".to_owned(), false)
            ]
        );
        assert_eq!(
            Cell::new(Quantity::Count(0))
                .at_most(Quantity::Count(0))
                .to_string(),
            "0 (met)"
        );
    }
}
