//! One schedule: what is due happens, step by step, until the storm is over and all is at rest.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::agents::Agents;
use crate::checks::{Checks, Scene, Violation};
use crate::dice::Dice;
pub(crate) use crate::due::{Ask, Due, Happening, Process, Purpose, Told};
use crate::events::Outbox;
use crate::executor::Executor;
use crate::facts::Fact;
use crate::faults::Fault;
use crate::gate::{ProcessId, Straggler};
use crate::plan::Plan;
use crate::queue::Queue;
use crate::rollouts::Rollouts;
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::world::{HandOver, World};

#[derive(Debug)]
pub struct Simulation {
    pub world: World,
    pub scenario: Scenario,
    pub faults: Plan,
    pub trace: Trace,
    pub(crate) agents: Agents,
    pub(crate) rollouts: Rollouts,
    pub(crate) queue: Queue<Due>,
    pub(crate) dice: Dice,
    pub(crate) checks: Checks,
    /// The calls that were come to, and how often.
    pub calls: BTreeMap<&'static str, u64>,
    /// What was done, and how often.
    pub done: BTreeMap<&'static str, u64>,
    /// Events that EC2 has made.
    pub(crate) said: u64,
    /// No more users, no more changes of the settings: what was begun is finished.
    pub(crate) over: bool,
    pub(crate) executor: Executor,
    pub(crate) processes: BTreeMap<ProcessId, Process>,
    pub(crate) late: BTreeSet<ProcessId>,
    outbox: Outbox,
}

impl Simulation {
    pub fn new(scenario: Scenario, faults: Plan, dice: &mut Dice, traced: bool) -> Self {
        let mut world = World::default();
        scenario.furnish(&mut world);
        Self {
            world,
            scenario,
            faults,
            trace: Trace::new(traced),
            agents: Agents::default(),
            queue: Queue::new(dice.fork()),
            dice: dice.fork(),
            rollouts: Rollouts::new(dice.fork()),
            checks: Checks::default(),
            calls: BTreeMap::new(),
            done: BTreeMap::new(),
            said: 0,
            over: false,
            executor: Executor::default(),
            processes: BTreeMap::new(),
            late: BTreeSet::new(),
            outbox: Outbox::default(),
        }
    }

    pub fn violation(&self) -> Option<&Violation> {
        self.checks.first()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.world.now()
    }

    pub(crate) fn happens_in(&mut self, after: SignedDuration, happening: Happening) {
        let at = self.now() + after;
        self.queue.add(at, Due::Happening(happening));
    }

    /// Whether a function runs.
    pub fn is_busy(&self) -> bool {
        self.processes.values().any(|p| p.purpose.is_function())
    }

    /// Runs until then, or until a rule does not hold.
    pub fn run_until(&mut self, until: Timestamp) {
        while self.violation().is_none() {
            match self.queue.next_at() {
                Some(at) if at <= until => self.step(),
                _ => break,
            }
        }
        if self.violation().is_none() && self.now() < until {
            self.world.clock.advance(until.duration_since(self.now()));
        }
    }

    /// The next thing that is due.
    pub fn step(&mut self) {
        let Some((at, due)) = self.queue.pop() else {
            return;
        };
        if at > self.now() {
            self.world.clock.advance(at.duration_since(self.now()));
        }
        self.trace.step(at);
        let straggler = matches!(due, Due::Straggler(_));
        let by_itself = matches!(due, Due::Happening(_));
        match due {
            Due::Gate {
                gate,
                process,
                verdict,
            } => self.gate(gate, process, verdict),
            Due::LastGate {
                gate,
                process,
                verdict,
            } => {
                self.gate(gate, process, verdict);
                self.die(process, Fault::CrashInFlight);
            }
            Due::Death(process, fault) => self.die(process, fault),
            Due::Straggler(late) => {
                let Straggler {
                    call,
                    process,
                    effect,
                    ..
                } = late;
                self.trace.line(|| format!("{process} {call} arrives late"));
                at_once(effect);
            }
            Due::Happening(happening) => {
                self.trace.line(|| format!("* {happening}"));
                self.happen(happening);
            }
        }
        self.follow_up(straggler, by_itself);
    }

    /// What was changed from outside of a step is noticed.
    pub fn follow_up_now(&mut self) {
        self.follow_up(false, true);
    }

    /// What the step has led to is put where it is due, and the rules are checked.
    fn follow_up(&mut self, straggler: bool, by_itself: bool) {
        for HandOver { region, id } in self.world.mail.handed_over() {
            let event = serde_json::json!({"regions": [region], "hand_over": id});
            self.reconcile("handed over", event);
        }
        for arrival in self.world.gates.arrivals() {
            self.arrived(&arrival);
        }
        for late in self.world.gates.stragglers() {
            let at = self.now() + late.after;
            self.queue.add(at, Due::Straggler(late));
        }
        let facts = self.world.facts.take();
        // What only waited or was answered has changed nothing.
        if facts.is_empty() && !by_itself {
            return;
        }
        let scene = Scene {
            world: &self.world,
            agents: &self.agents,
            late: &self.late,
            straggler,
        };
        self.checks.after_step(&scene, &facts);
        for (process, fact) in &facts {
            if let Fact::AskedToTerminate { region, ids } = fact {
                for id in ids {
                    self.announce_end(region, id);
                }
            }
            if let Some((what, often)) = fact.done() {
                *self.done.entry(what).or_default() += often;
            }
            self.trace.line(|| format!("{process}   {fact:?}"));
        }
        let launched = |(_, fact): &(_, Fact)| matches!(fact, Fact::AskedToLaunch { .. });
        if facts.iter().any(launched) {
            self.expect_boots();
        }
        let events = self.outbox.collect(&self.world.database.rows().tables);
        for event in events {
            self.checks.event_made(&event.id);
            self.send(&event);
        }
    }
}

/// What waits for nothing.
fn at_once(effect: impl Future<Output = ()>) {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    // Behind the gates nothing waits: one poll does it.
    let _ = std::pin::pin!(effect).poll(&mut context);
}
