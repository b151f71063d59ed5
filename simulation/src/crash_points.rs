//! Every crash point: each kind of invocation is run once to number its gates, and then once
//! more for each gate, dying there. What the next passes leave must be what an undisturbed run
//! leaves: EC2's machines are the rows, one launch for each intent, nothing open.
//!
//! Nothing is listed by hand but the kinds: a call that a pass makes anew has gates of its own.

mod furnish;
mod kinds;
mod upgrades;

use std::collections::BTreeMap;
use std::time::Duration;

use shared::ids::ImageId;
use shared::model::ImageState;

use crate::checks::Violation;
use crate::dice::Dice;
use crate::plan::{Plan, Then};
use crate::scenario::Scenario;
use crate::simulation::Simulation;

pub use kinds::{KINDS, Kind};

/// A request that was sent when its sender died arrives this much later: when the next holder is
/// at work, or long after.
const IN_FLIGHT: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(75)];

/// What is left when all is at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Live machines, which are the rows.
    pub machines: usize,
    /// Launches that EC2 carried out.
    pub launches: usize,
    /// Machines that EC2 ever launched.
    pub launched: usize,
    pub images: BTreeMap<ImageId, ImageState>,
}

/// One run of one kind.
#[derive(Clone, Debug)]
pub struct Ending {
    pub ledger: Ledger,
    pub gates: u64,
    pub violation: Option<Violation>,
    pub trace: Vec<String>,
    /// The calls that were come to, and how often.
    pub calls: BTreeMap<&'static str, u64>,
}

/// How a run dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    pub gate: u64,
    pub then: Then,
}

impl Kind {
    /// Runs one invocation of this kind to its end or death, and then lets passes come until
    /// all is at rest.
    pub fn run(&self, death: Option<Death>, traced: bool) -> Ending {
        let mut dice = Dice::new(1);
        let plan = match death {
            None => Plan::calm(dice.fork()),
            Some(Death { gate, then }) => Plan::once(gate, then, dice.fork()),
        };
        let scenario = Scenario::quiet(furnish::settings());
        let mut simulation = Simulation::new(scenario, plan, &mut dice, traced);
        (self.furnish)(&mut simulation);
        (self.invoke)(&mut simulation);
        while simulation.is_busy() && simulation.violation().is_none() {
            simulation.step();
        }
        let gates = simulation.faults.arrivals;
        let calls = simulation.calls.clone();
        if self.again && death.is_some() {
            (self.invoke)(&mut simulation);
        }
        simulation.schedule();
        simulation.settle();
        Ending {
            ledger: ledger(&simulation),
            gates,
            violation: simulation.violation().cloned(),
            trace: simulation.trace.last(300),
            calls,
        }
    }

    /// All ways to die in an invocation of this kind.
    pub fn deaths(&self) -> Vec<Death> {
        let gates = self.run(None, false).gates;
        let ways = |gate| {
            let in_flight = IN_FLIGHT.map(Then::CrashInFlight);
            let ways = [Then::Crash].into_iter().chain(in_flight);
            ways.map(move |then| Death { gate, then })
        };
        (0..gates).flat_map(ways).collect()
    }
}

fn ledger(simulation: &Simulation) -> Ledger {
    let host = simulation.world.host(&furnish::settings().name);
    let state = host.state();
    let bindings = state
        .ec2
        .tokens
        .values()
        .filter(|binding| !binding.ids.is_empty());
    let rows = simulation.world.database.rows();
    let images = rows.tables.images.values();
    Ledger {
        images: images.map(|i| (i.id.clone(), i.state)).collect(),
        machines: state.ec2.live(simulation.world.now()).count(),
        launches: bindings.clone().count(),
        launched: bindings.map(|binding| binding.ids.len()).sum(),
    }
}
