//! Golden plans and properties of `decide`.

mod golden;
mod properties;
mod support;
mod upgrades;
