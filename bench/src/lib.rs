//! The report of the benchmarks: figures, each with its goal.

mod samples;
mod section;

pub use samples::Samples;
pub use section::{Quantity, Row, Section};
