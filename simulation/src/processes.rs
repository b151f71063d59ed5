//! The life of a process: it starts, waits at yield points, is resumed, and ends or dies.

use jiff::SignedDuration;

use crate::checks::{Check, Violation};
use crate::executor::Step;
use crate::fault_schedule::Action;
use crate::faults::Fault;
use crate::scheduled::{Process, ProcessKind, Scheduled};
use crate::simulation::Simulation;
use crate::world::{FUNCTION_TIMEOUT, World};
use crate::yield_points::{Delivery, ProcessId, Reached, Side, YieldPointId};

impl Simulation {
    /// Resumes the process that waits at `point`, or does so later if the process is paused.
    pub(crate) fn resume(&mut self, point: YieldPointId, id: ProcessId, delivery: Delivery) {
        if let Some(until) = self.processes.get(&id).and_then(|p| p.paused_until)
            && until > self.now()
        {
            let resume = Scheduled::Resume {
                point,
                process: id,
                delivery,
            };
            return self.queue.add(until, resume);
        }
        if self.world.yield_points.resume(point, delivery) {
            self.step_process(id);
        }
    }

    /// Lets a process continue to its next yield point or to its end.
    fn step_process(&mut self, id: ProcessId) {
        match self.executor.step(id) {
            Step::Waiting | Step::NoSuchProcess => {}
            Step::Ended(output) => {
                if let Some(process) = self.processes.remove(&id) {
                    self.trace.line(|| format!("{id} {} ends", process.name));
                    self.handle_end(process.kind, &*output);
                }
                self.check_idle();
            }
            Step::Panicked(message) => {
                let name = self.processes.remove(&id).map(|process| process.name);
                let text = format!("{} panicked: {message}", name.unwrap_or_default());
                self.checks
                    .report(Violation::new(Check::FunctionsRespond, text));
            }
        }
    }

    /// Kills a process, if it still runs.
    pub(crate) fn kill(&mut self, id: ProcessId, fault: Fault) {
        if !self.executor.kill(id) {
            return;
        }
        if fault == Fault::TimeLimit {
            self.faults.count(fault);
        }
        self.checks.note_fault(fault);
        if let Some(process) = self.processes.remove(&id) {
            self.trace
                .line(|| format!("{id} {} dies: {fault}", process.name));
            self.handle_death(process.kind);
        }
        self.check_idle();
    }

    /// Runs the checks for an idle system, if no function runs.
    fn check_idle(&mut self) {
        if !self.is_busy() {
            self.checks.check_idle(&self.world);
        }
    }

    /// Decides what happens to a process at its yield point.
    pub(crate) fn schedule_resume(&mut self, reached: &Reached) {
        let Reached {
            point,
            process,
            call,
            side,
        } = *reached;
        let injection = self.faults.draw(reached);
        if side == Side::Before {
            *self.calls.entry(call.name).or_default() += 1;
        }
        if let Some(fault) = injection.fault {
            self.trace
                .line(|| format!("{process} {call} {side:?}: {fault}"));
            self.checks.note_fault(fault);
        } else if side == Side::Before {
            self.trace.line(|| format!("{process} {call}"));
        }
        let at = self.now() + injection.after;
        let resume = |delivery| Scheduled::Resume {
            point,
            process,
            delivery,
        };
        match injection.action {
            Action::Resume(delivery) => {
                if matches!(delivery, Delivery::Late(_)) {
                    self.delayed.insert(process);
                }
                self.queue.add(at, resume(delivery));
            }
            Action::Crash => {
                let fault = injection.fault.unwrap_or(Fault::CrashBefore);
                self.queue.add(at, Scheduled::Death(process, fault));
            }
            Action::CrashInFlight(after) => {
                let delivery = Delivery::Late(after);
                let last = Scheduled::LastResume {
                    point,
                    process,
                    delivery,
                };
                self.queue.add(at, last);
            }
            Action::Pause(pause) => {
                self.delayed.insert(process);
                if let Some(p) = self.processes.get_mut(&process) {
                    let until = at + pause;
                    p.paused_until = p.paused_until.max(Some(until));
                }
                self.queue.add(at + pause, resume(Delivery::Normal));
            }
        }
    }

    /// Starts a process, which `body` makes, and lets it run up to its first yield point.
    pub(crate) fn spawn<T: Send + 'static>(
        &mut self,
        name: impl Into<String>,
        kind: ProcessKind,
        body: impl FnOnce(&World, ProcessId) -> futures::future::BoxFuture<'static, T>,
    ) -> ProcessId {
        let id = self.executor.reserve();
        let name = name.into();
        self.trace.line(|| format!("{id} {name} starts"));
        *self.done.entry(kind.name()).or_default() += 1;
        let body = body(&self.world, id);
        let has_timeout = kind.is_function();
        self.processes.insert(
            id,
            Process {
                name,
                kind,
                paused_until: None,
            },
        );
        self.executor.spawn(id, body);
        if has_timeout {
            let at = self.now() + FUNCTION_TIMEOUT;
            self.queue.add(at, Scheduled::Death(id, Fault::TimeLimit));
        }
        self.step_process(id);
        id
    }

    /// Draws how far off the clock of a new process is.
    pub(crate) fn random_skew(&mut self) -> SignedDuration {
        if !self.faults.occurs(Fault::ClockSkew) {
            return SignedDuration::ZERO;
        }
        let margin = shared::lock::CLOCK_MARGIN.as_millis().unsigned_abs();
        let off = self
            .faults
            .random_numbers()
            .between(0..=u64::try_from(2 * margin).unwrap_or(0));
        SignedDuration::from_millis(i64::try_from(off).unwrap_or(0)) - shared::lock::CLOCK_MARGIN
    }
}
