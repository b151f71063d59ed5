//! The scaling table, in memory: what the DynamoDB adapter does, under the same conditions. The
//! tests in `tests/tests/fakes` compare it with the adapter on a local AWS.

mod history;
mod items;
mod ports;
mod reports;
mod service;
mod sessions;
mod table;

pub use items::{Held, RegionItems};
pub use table::{FakeStore, Items};
