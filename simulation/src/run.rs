//! Runs one seed from its first random number to its outcome.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use crate::checks::Violation;
use crate::fault_schedule::FaultSchedule;
use crate::faults::{Counts, Fault};
use crate::random::Random;
use crate::scenario::Scenario;
use crate::simulation::Simulation;
use crate::world::World;

/// The outcome of one schedule.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub seed: u64,
    pub steps: u64,
    pub faults: Counts,
    /// What was done, and how often.
    pub done: BTreeMap<&'static str, u64>,
    /// The calls that processes made.
    pub calls: BTreeSet<&'static str>,
    /// The number of passes until the system had converged.
    pub passes_to_converge: u32,
    pub violation: Option<Violation>,
    /// The last lines, if they were requested.
    pub trace: Vec<String>,
}

/// How a seed is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The number of the last steps that are kept.
    pub traced: usize,
    /// Only these faults, at their full rate, instead of the seed's own choice.
    pub only: Option<Vec<Fault>>,
}

/// Runs a seed.
pub fn run(seed: u64, options: &Options) -> Outcome {
    run_broken(seed, options, |_| {})
}

/// Runs a seed in a world that `break_it` has changed.
pub fn run_broken(seed: u64, options: &Options, break_it: impl FnOnce(&mut World)) -> Outcome {
    let mut random = Random::new(seed);
    let scenario = Scenario::random(&mut random.fork());
    let faults = match &options.only {
        None => FaultSchedule::random(random.fork()),
        Some(only) => FaultSchedule::only(only, random.fork()),
    };
    let mut simulation = Simulation::new(scenario, faults, &mut random, options.traced > 0);
    break_it(&mut simulation.world);
    simulation.schedule_first_events();
    let minutes = i64::try_from(simulation.scenario.fault_minutes).unwrap_or(1);
    let until = simulation.world.now() + SignedDuration::from_mins(minutes);
    simulation.run_until(until);
    let passes_to_converge = match simulation.violation() {
        None => simulation.converge(),
        Some(_) => 0,
    };
    Outcome {
        seed,
        steps: simulation.trace.steps(),
        faults: simulation.faults.counts.clone(),
        done: simulation.done.clone(),
        calls: simulation.calls.keys().copied().collect(),
        passes_to_converge,
        violation: simulation.violation().cloned(),
        trace: simulation.trace.last(options.traced),
    }
}
