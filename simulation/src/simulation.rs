//! One schedule: runs whatever is scheduled next, step by step, until the faults are over and the
//! system has converged.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::agents::Agents;
use crate::builds::Builds;
use crate::checks::{Checks, StepContext, Violation};
use crate::effects::Effect;
use crate::executor::Executor;
use crate::fault_schedule::FaultSchedule;
use crate::faults::Fault;
use crate::hand_overs::HandOver;
use crate::hasura_events::EventTriggers;
use crate::queue::Queue;
use crate::random::Random;
use crate::scenario::Scenario;
use crate::scheduled::{Event, Process, Scheduled};
use crate::trace::Trace;
use crate::world::World;
use crate::yield_points::ProcessId;

#[derive(Debug)]
pub struct Simulation {
    pub world: World,
    pub scenario: Scenario,
    pub faults: FaultSchedule,
    pub trace: Trace,
    pub(crate) agents: Agents,
    pub(crate) builds: Builds,
    pub(crate) queue: Queue<Scheduled>,
    pub(crate) random: Random,
    /// Of ends of sessions.
    pub(crate) endings: Random,
    pub(crate) checks: Checks,
    /// The calls that processes have made, and how often.
    pub calls: BTreeMap<&'static str, u64>,
    /// What was done, and how often; for the summary of a run.
    pub done: BTreeMap<&'static str, u64>,
    /// The number of events that EC2 has made.
    pub(crate) ec2_events: u64,
    /// The faults are over: no more users arrive and nobody changes settings any more, so that only
    /// what has begun is finished.
    pub(crate) winding_down: bool,
    pub(crate) executor: Executor,
    pub(crate) processes: BTreeMap<ProcessId, Process>,
    /// Processes that a fault makes act later than they should.
    pub(crate) delayed: BTreeSet<ProcessId>,
    event_triggers: EventTriggers,
}

impl Simulation {
    pub fn new(
        scenario: Scenario,
        faults: FaultSchedule,
        random: &mut Random,
        traced: bool,
    ) -> Self {
        let mut world = World::default();
        scenario.set_up(&mut world);
        Self {
            world,
            scenario,
            faults,
            trace: Trace::new(traced),
            agents: Agents::default(),
            // Of a clone, so that the streams below stay the same.
            endings: random.clone().fork(),
            queue: Queue::new(random.fork()),
            random: random.fork(),
            builds: Builds::new(random.fork()),
            checks: Checks::default(),
            calls: BTreeMap::new(),
            done: BTreeMap::new(),
            ec2_events: 0,
            winding_down: false,
            executor: Executor::default(),
            processes: BTreeMap::new(),
            delayed: BTreeSet::new(),
            event_triggers: EventTriggers::default(),
        }
    }

    pub fn violation(&self) -> Option<&Violation> {
        self.checks.first()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.world.now()
    }

    pub(crate) fn schedule_in(&mut self, after: SignedDuration, event: Event) {
        let at = self.now() + after;
        self.queue.add(at, Scheduled::Event(event));
    }

    /// Whether a function runs.
    pub fn is_busy(&self) -> bool {
        self.processes.values().any(|p| p.kind.is_function())
    }

    /// Runs until `until`, or until the first violation.
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

    /// Runs what is scheduled next.
    pub fn step(&mut self) {
        let Some((at, item)) = self.queue.pop() else {
            return;
        };
        if at > self.now() {
            self.world.clock.advance(at.duration_since(self.now()));
        }
        self.trace.step(at);
        let late_request = matches!(item, Scheduled::LateRequest(_));
        let from_event = matches!(item, Scheduled::Event(_));
        match item {
            Scheduled::Resume {
                point,
                process,
                delivery,
            } => self.resume(point, process, delivery),
            Scheduled::LastResume {
                point,
                process,
                delivery,
            } => {
                self.resume(point, process, delivery);
                self.kill(process, Fault::CrashInFlight);
            }
            Scheduled::Death(process, fault) => self.kill(process, fault),
            Scheduled::LateRequest(late) => {
                let (process, call) = (late.process, late.call);
                self.trace.line(|| format!("{process} {call} arrives late"));
                poll_once(late.effect);
            }
            Scheduled::Event(event) => {
                self.trace.line(|| format!("* {event}"));
                self.handle_event(event);
            }
        }
        self.process_effects(late_request, from_event);
    }

    /// Processes the effects of a change that was made outside of a step.
    pub fn process_outside_changes(&mut self) {
        self.process_effects(false, true);
    }

    /// Schedules what follows from the effects of a step, and runs the checks.
    fn process_effects(&mut self, late_request: bool, from_event: bool) {
        for HandOver { region, id } in self.world.hand_overs.take() {
            let event = serde_json::json!({"regions": [region], "hand_over": id});
            self.reconcile("handed over", event);
        }
        for reached in self.world.yield_points.reached() {
            self.schedule_resume(&reached);
        }
        for late in self.world.yield_points.late_requests() {
            let at = self.now() + late.after;
            self.queue.add(at, Scheduled::LateRequest(late));
        }
        let effects = self.world.effects.take();
        // A step that only waited, or only delivered an answer, has changed nothing.
        if effects.is_empty() && !from_event {
            return;
        }
        let context = StepContext {
            world: &self.world,
            agents: &self.agents,
            delayed: &self.delayed,
            late_request,
        };
        self.checks.check_step(&context, &effects);
        for (process, effect) in &effects {
            if let Effect::TerminateRequested { region, ids } = effect {
                for id in ids {
                    self.send_end_events(region, id);
                }
            }
            if let Some((what, often)) = effect.done() {
                *self.done.entry(what).or_default() += often;
            }
            self.trace.line(|| format!("{process}   {effect:?}"));
        }
        let launched = |(_, effect): &(_, Effect)| matches!(effect, Effect::LaunchRequested { .. });
        if effects.iter().any(launched) {
            self.schedule_boots();
        }
        let events = self
            .event_triggers
            .collect(&self.world.database.rows().tables);
        for event in events {
            self.checks.note_event_created(&event.id);
            self.send_hasura_event(&event);
        }
    }
}

/// Polls a future that is known not to wait.
fn poll_once(effect: impl Future<Output = ()>) {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    // The fakes behind the yield points never wait, so that one poll is enough.
    let _ = std::pin::pin!(effect).poll(&mut context);
}
