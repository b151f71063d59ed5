//! What is printed: figures, each beside its goal.

mod samples;
mod section;

pub use samples::Samples;
pub use section::{Quantity, Row, Section};
