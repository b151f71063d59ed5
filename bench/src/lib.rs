//! The report of the benchmarks: figures, each with its goal.

mod comparison;
mod samples;
mod section;
mod table;

pub use comparison::{Cell, Comparison};
pub use samples::Samples;
pub use section::{Figures, Quantity, Row, Section};
