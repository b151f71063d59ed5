//! Crash points: each invocation of invocation runs once to number its yield points, and then once more
//! for each of them, dying there. What the next passes make of it must equal what a run without a
//! crash leaves: each machine has a row, each intent at most one launch, and nothing is open.
//!
//! Only the invocations of invocations are listed by hand. A call that is added to a pass has yield
//! points of its own.

mod invocations;
mod setup;
mod upgrade_setup;

use std::collections::BTreeMap;
use std::time::Duration;

use shared::ids::ImageId;
use shared::model::ImageState;

use crate::checks::Violation;
use crate::fault_schedule::{Action, FaultSchedule};
use crate::random::Random;
use crate::scenario::Scenario;
use crate::simulation::Simulation;

pub use invocations::{INVOCATIONS, Invocation};

/// A request whose sender has died arrives this much later: while the next holder of the lock
/// works, or long after it.
const IN_FLIGHT: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(75)];

/// What is left when the system has converged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalState {
    /// Live machines. Each of them has a row.
    pub machines: usize,
    /// Launches that EC2 carried out.
    pub launches: usize,
    /// Machines that EC2 ever launched.
    pub launched: usize,
    pub images: BTreeMap<ImageId, ImageState>,
}

/// The result of one run of one invocation.
#[derive(Clone, Debug)]
pub struct RunResult {
    pub final_state: FinalState,
    pub yield_points: u64,
    pub violation: Option<Violation>,
    pub trace: Vec<String>,
    /// The calls that were made, and how often.
    pub calls: BTreeMap<&'static str, u64>,
}

/// Where and how a function dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashPoint {
    pub point: u64,
    pub action: Action,
}

impl Invocation {
    /// Runs this invocation until it ends or dies, and then scheduled passes until the system has
    /// converged.
    pub fn run(&self, crash_point: Option<CrashPoint>, traced: bool) -> RunResult {
        let mut random = Random::new(1);
        let faults = match crash_point {
            None => FaultSchedule::none(random.fork()),
            Some(CrashPoint { point, action }) => FaultSchedule::once(point, action, random.fork()),
        };
        let scenario = Scenario::quiet(setup::settings());
        let mut simulation = Simulation::new(scenario, faults, &mut random, traced);
        (self.set_up)(&mut simulation);
        (self.invoke)(&mut simulation);
        while simulation.is_busy() && simulation.violation().is_none() {
            simulation.step();
        }
        let yield_points = simulation.faults.reached;
        let calls = simulation.calls.clone();
        if self.retried && crash_point.is_some() {
            (self.invoke)(&mut simulation);
        }
        simulation.start_schedule();
        simulation.converge();
        RunResult {
            final_state: final_state(&simulation),
            yield_points,
            violation: simulation.violation().cloned(),
            trace: simulation.trace.last(300),
            calls,
        }
    }

    /// Every crash at every yield point of this invocation.
    pub fn crash_points(&self) -> Vec<CrashPoint> {
        let yield_points = self.run(None, false).yield_points;
        let crashes_at = |point| {
            let in_flight = IN_FLIGHT.map(Action::CrashInFlight);
            let actions = [Action::Crash].into_iter().chain(in_flight);
            actions.map(move |action| CrashPoint { point, action })
        };
        (0..yield_points).flat_map(crashes_at).collect()
    }
}

fn final_state(simulation: &Simulation) -> FinalState {
    let host = simulation.world.host(&setup::settings().name);
    let state = host.state();
    let bindings = state
        .ec2
        .tokens
        .values()
        .filter(|binding| !binding.ids.is_empty());
    let rows = simulation.world.database.rows();
    let images = rows.tables.images.values();
    FinalState {
        images: images.map(|i| (i.id.clone(), i.state)).collect(),
        machines: state.ec2.live(simulation.world.now()).count(),
        launches: bindings.clone().count(),
        launched: bindings.map(|binding| binding.ids.len()).sum(),
    }
}
