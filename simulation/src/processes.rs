//! The life of a process: it begins, stands at gates, goes on, ends or dies.

use jiff::SignedDuration;

use crate::checks::{Check, Violation};
use crate::executor::Step;
use crate::faults::Fault;
use crate::gate::{Arrival, GateId, ProcessId, Side, Verdict};
use crate::plan::Then;
use crate::simulation::{Due, Process, Purpose, Simulation};
use crate::world::World;

impl Simulation {
    pub(crate) fn gate(&mut self, gate: GateId, id: ProcessId, verdict: Verdict) {
        if let Some(until) = self.processes.get(&id).and_then(|p| p.paused_until)
            && until > self.now()
        {
            let due = Due::Gate {
                gate,
                process: id,
                verdict,
            };
            return self.queue.add(until, due);
        }
        if self.world.gates.open(gate, verdict) {
            self.run(id);
        }
    }

    /// Lets a process go on to its next gates or to its end.
    fn run(&mut self, id: ProcessId) {
        match self.executor.step(id) {
            Step::Waiting | Step::NoSuchProcess => {}
            Step::Ended(left) => {
                if let Some(process) = self.processes.remove(&id) {
                    self.trace.line(|| format!("{id} {} ends", process.name));
                    self.ended(process.purpose, &*left);
                }
                self.look_around();
            }
            Step::Panicked(message) => {
                let name = self.processes.remove(&id).map(|process| process.name);
                let text = format!("{} panicked: {message}", name.unwrap_or_default());
                self.checks.report(Violation::new(Check::Answers, text));
            }
        }
    }

    pub(crate) fn die(&mut self, id: ProcessId, fault: Fault) {
        if !self.executor.kill(id) {
            return;
        }
        if fault == Fault::TimeLimit {
            self.faults.note(fault);
        }
        self.checks.fault(fault);
        if let Some(process) = self.processes.remove(&id) {
            self.trace
                .line(|| format!("{id} {} dies: {fault}", process.name));
            self.died(process.purpose);
        }
        self.look_around();
    }

    fn look_around(&mut self) {
        if !self.is_busy() {
            self.checks.quiet(&self.world);
        }
    }

    /// Decides what becomes of a process at its gate.
    pub(crate) fn arrived(&mut self, arrival: &Arrival) {
        let Arrival {
            gate,
            process,
            call,
            side,
        } = *arrival;
        let fate = self.faults.at(arrival);
        if side == Side::Before {
            *self.calls.entry(call.name).or_default() += 1;
        }
        if let Some(fault) = fate.fault {
            self.trace
                .line(|| format!("{process} {call} {side:?}: {fault}"));
            self.checks.fault(fault);
        } else if side == Side::Before {
            self.trace.line(|| format!("{process} {call}"));
        }
        let due = self.now() + fate.after;
        let opened = |verdict| Due::Gate {
            gate,
            process,
            verdict,
        };
        match fate.then {
            Then::Open(verdict) => {
                if matches!(verdict, Verdict::Late(_)) {
                    self.late.insert(process);
                }
                self.queue.add(due, opened(verdict));
            }
            Then::Crash => {
                let fault = fate.fault.unwrap_or(Fault::CrashBefore);
                self.queue.add(due, Due::Death(process, fault));
            }
            Then::CrashInFlight(after) => {
                let verdict = Verdict::Late(after);
                let last = Due::LastGate {
                    gate,
                    process,
                    verdict,
                };
                self.queue.add(due, last);
            }
            Then::Pause(pause) => {
                self.late.insert(process);
                if let Some(p) = self.processes.get_mut(&process) {
                    let until = due + pause;
                    p.paused_until = p.paused_until.max(Some(until));
                }
                self.queue.add(due + pause, opened(Verdict::Pass));
            }
        }
    }

    /// A process whose ports stand at gates, made by `body` and run up to the first of them.
    pub(crate) fn spawn<T: Send + 'static>(
        &mut self,
        name: impl Into<String>,
        purpose: Purpose,
        body: impl FnOnce(&World, ProcessId) -> futures::future::BoxFuture<'static, T>,
    ) -> ProcessId {
        let id = self.executor.reserve();
        let name = name.into();
        self.trace.line(|| format!("{id} {name} begins"));
        *self.done.entry(purpose.name()).or_default() += 1;
        let body = body(&self.world, id);
        let limit = purpose.is_function();
        self.processes.insert(
            id,
            Process {
                name,
                purpose,
                paused_until: None,
            },
        );
        self.executor.spawn(id, body);
        if limit {
            let at = self.now() + crate::world::FUNCTION_LIMIT;
            self.queue.add(at, Due::Death(id, Fault::TimeLimit));
        }
        self.run(id);
        id
    }

    /// How far off a new process's clock is.
    pub(crate) fn skew(&mut self) -> SignedDuration {
        if !self.faults.strikes(Fault::ClockSkew) {
            return SignedDuration::ZERO;
        }
        let margin = shared::lock::CLOCK_MARGIN.as_millis().unsigned_abs();
        let off = self
            .faults
            .dice()
            .between(0..=u64::try_from(2 * margin).unwrap_or(0));
        SignedDuration::from_millis(i64::try_from(off).unwrap_or(0)) - shared::lock::CLOCK_MARGIN
    }
}
