//! The two ways to buy an instance.
//!
//! A module of its own because both the faults and the world need it.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    #[default]
    OnDemand,
    /// A one-time spot request for one instance; other spot requests are not emulated.
    Spot,
}
