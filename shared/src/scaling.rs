//! Deciding: a snapshot and the time go in, a plan with its reasons comes out.
//!
//! Everything here is synchronous and pure: no I/O, no clock, no logging. Start with `default.rs`,
//! which lists the decisions in their order; each has a file of its own beside it. Every plan is
//! checked against the rules in `invariants.rs` before it is executed.

mod adaptive;
mod addresses;
mod algorithm;
mod app_version;
mod budget;
mod buffer;
mod counts;
mod default;
mod drift;
mod ends;
mod forecast;
mod guard;
mod instance_addresses;
mod intents;
mod invariants;
mod launch_options;
mod launch_settings;
mod leaves;
mod lifecycle;
mod plan;
mod reason;
mod replacing;
mod replica;
mod rests;
mod rows;
mod schedule;
mod sizing;
mod snapshot;
mod suspects;
mod target;
mod tokens;
mod topic;
mod upgrade;

use jiff::Timestamp;
use thiserror::Error;

pub use addresses::moves_to_record as address_moves_to_record;
pub use algorithm::{Fleet, ScalingAlgorithm};
pub use forecast::outlook;
pub use invariants::{Violation, violations};
pub use plan::{
    Action, AddressReport, Counts, ImageCounts, LaunchOption, Note, Plan, ReplicaView, Step,
};
pub use reason::Reason;
pub use schedule::{Window, windows};
pub use snapshot::Snapshot;
pub use target::{Target, target};
pub use tokens::TokenPolicy;
pub use topic::Topic;

use crate::ids::RegionName;
use crate::settings::RegionSettings;
use crate::words::quoted;

static ALGORITHMS: [&dyn ScalingAlgorithm; 3] = [
    &default::DefaultAlgorithm,
    &adaptive::AdaptiveAlgorithm,
    &replica::ReplicaAlgorithm,
];

#[derive(Debug, Error)]
pub enum DecideError {
    #[error(
        "regions.algorithm of {region} is {}: it must be one of {known}",
        quoted(name),
        known = algorithm_names().collect::<Vec<_>>().join(", ")
    )]
    UnknownAlgorithm { region: RegionName, name: String },
    #[error("the plan breaks an invariant, so nothing was done: {0}")]
    UnsafePlan(String),
}

/// The algorithm with this name, if there is one.
pub fn algorithm(name: &str) -> Option<&'static dyn ScalingAlgorithm> {
    ALGORITHMS
        .into_iter()
        .find(|algorithm| algorithm.name() == name)
}

/// The names that [`algorithm`] knows.
pub fn algorithm_names() -> impl Iterator<Item = &'static str> {
    ALGORITHMS.into_iter().map(ScalingAlgorithm::name)
}

/// The algorithm that a region's settings name.
///
/// # Errors
/// When there is no algorithm with that name.
pub fn algorithm_of(
    settings: &RegionSettings,
) -> Result<&'static dyn ScalingAlgorithm, DecideError> {
    algorithm(&settings.algorithm).ok_or_else(|| DecideError::UnknownAlgorithm {
        region: settings.name.clone(),
        name: settings.algorithm.clone(),
    })
}

/// The plan of the region's algorithm. It breaks no invariant.
///
/// # Errors
/// When the algorithm is unknown, or its plan breaks an invariant.
pub fn decide(snapshot: &Snapshot, now: Timestamp) -> Result<Plan, DecideError> {
    let algorithm = algorithm_of(&snapshot.settings)?;
    let plan = algorithm.decide(snapshot, now);
    let violations = violations(algorithm, snapshot, &plan, now);
    if violations.is_empty() {
        return Ok(plan);
    }
    let violations: Vec<_> = violations.iter().map(ToString::to_string).collect();
    Err(DecideError::UnsafePlan(violations.join("; ")))
}
