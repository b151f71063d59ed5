//! One seed, from its first throw to its verdict.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use crate::checks::Violation;
use crate::dice::Dice;
use crate::faults::{Counts, Fault};
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::simulation::Simulation;
use crate::world::World;

/// What came of one schedule.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub seed: u64,
    pub steps: u64,
    pub faults: Counts,
    /// What was done, and how often.
    pub done: BTreeMap<&'static str, u64>,
    /// The calls that processes made.
    pub calls: BTreeSet<&'static str>,
    /// Passes until all was at rest.
    pub settled_after: u32,
    pub violation: Option<Violation>,
    /// The last lines, if they were asked for.
    pub trace: Vec<String>,
}

/// How a seed is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// So many of the last steps are kept to be read.
    pub traced: usize,
    /// Only these faults, often, instead of the seed's own choice.
    pub only: Option<Vec<Fault>>,
}

/// Runs a seed over the world as it is.
pub fn run(seed: u64, options: &Options) -> Outcome {
    run_broken(seed, options, |_| {})
}

/// Runs a seed over the world as `break_it` makes it.
pub fn run_broken(seed: u64, options: &Options, break_it: impl FnOnce(&mut World)) -> Outcome {
    let mut dice = Dice::new(seed);
    let scenario = Scenario::drawn(&mut dice.fork());
    let faults = match &options.only {
        None => Plan::drawn(dice.fork()),
        Some(only) => Plan::only(only, dice.fork()),
    };
    let mut simulation = Simulation::new(scenario, faults, &mut dice, options.traced > 0);
    break_it(&mut simulation.world);
    simulation.set_off();
    let storm = i64::try_from(simulation.scenario.storm_minutes).unwrap_or(1);
    let until = simulation.world.now() + SignedDuration::from_mins(storm);
    simulation.run_until(until);
    let settled_after = match simulation.violation() {
        None => simulation.settle(),
        Some(_) => 0,
    };
    Outcome {
        seed,
        steps: simulation.trace.steps(),
        faults: simulation.faults.counts.clone(),
        done: simulation.done.clone(),
        calls: simulation.calls.keys().copied().collect(),
        settled_after,
        violation: simulation.violation().cloned(),
        trace: simulation.trace.last(options.traced),
    }
}
