//! Tables in Markdown whose columns are aligned, so that they are also readable in a terminal.

use std::fmt;

/// How the cells of a column are aligned: text to the left, numbers to the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A column's header, and how its cells are aligned.
pub(crate) type Column<'a> = (&'a str, Align);

/// Writes the table. Each row has one cell for each column.
pub(crate) fn write(
    f: &mut fmt::Formatter<'_>,
    columns: &[Column<'_>],
    rows: &[Vec<String>],
) -> fmt::Result {
    let widths: Vec<_> = columns
        .iter()
        .enumerate()
        .map(|(place, (header, _))| {
            let cells = rows.iter().filter_map(|row| row.get(place));
            let widest = cells.map(|cell| cell.chars().count()).max();
            widest.unwrap_or(0).max(header.chars().count())
        })
        .collect();
    let line = |f: &mut fmt::Formatter<'_>, cells: &mut dyn Iterator<Item = &str>| {
        for ((cell, width), (_, align)) in cells.zip(&widths).zip(columns) {
            match align {
                Align::Left => write!(f, "| {cell:<width$} ")?,
                Align::Right => write!(f, "| {cell:>width$} ")?,
            }
        }
        writeln!(f, "|")
    };
    line(f, &mut columns.iter().map(|(header, _)| *header))?;
    for ((_, align), width) in columns.iter().zip(&widths) {
        let right = if *align == Align::Left { "-" } else { ":" };
        write!(f, "|{}{right}", "-".repeat(width + 1))?;
    }
    writeln!(f, "|")?;
    rows.iter()
        .try_for_each(|row| line(f, &mut row.iter().map(String::as_str)))
}
