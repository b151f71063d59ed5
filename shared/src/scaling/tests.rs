//! Golden plans and properties of `decide`.

mod addresses;
mod golden;
mod properties;
mod replicas;
mod support;
mod upgrades;
