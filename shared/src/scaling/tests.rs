//! Golden plans and properties of `decide`.

mod golden;
mod properties;
mod replicas;
mod support;
mod upgrades;
