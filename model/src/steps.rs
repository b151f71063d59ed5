//! What comes of a run's request, in the stores and for the run.

use crate::actions::How;
use crate::protocol::{Protocol, Variant};
use crate::state::{At, Event, Late, Lease, Lock, Run, State, Who};

impl Protocol {
    /// Sends a run's request, and puts the run back unless this was its last.
    pub(crate) fn step(&self, state: &mut State, run: Run, how: How) {
        let is_fault = !matches!(how, How::Answered | How::OutOfTime);
        state.faults -= u8::from(is_fault);
        // Two faults are made good at once: asking for the lock again, and a clear's second copy.
        state.noted.disturbed |= is_fault && run.at != At::Acquire && how != How::Doubled;
        let next = match run.at {
            At::AskSeen | At::Mark | At::RecordSeen => self.wake(state, run),
            At::Acquire => self.acquire(state, run, how),
            At::ReadMark => Some(self.read_mark(state, run)),
            At::ClearMark => Some(self.clear_mark(state, run, how)),
            At::BeginPass => self.begin_pass(state, run, how),
            At::Outbid { in_force } => Some(self.outbid(state, run, in_force)),
            At::Write => self.write(state, run),
            At::MarkAgain => {
                state.set_mark(run.owes, !self.is(Variant::MarkAgainKeepsOld));
                let run = Run { owes: 0, ..run };
                Some(run.going(At::Release { looked: false }))
            }
            At::Release { looked } => self.release(state, run, looked),
            At::Reread => reread(state, run, how),
        };
        match next {
            Some(run) => state.runs.push(run),
            None => state.end(&run),
        }
    }

    /// An event is asked for, marked, and only then recorded as seen.
    fn wake(&self, state: &mut State, run: Run) -> Option<Run> {
        let Who::Webhook(event) = run.who else {
            return None;
        };
        let hasty = self.is(Variant::SeenBeforeMarked);
        let next = match run.at {
            At::AskSeen if state.is_seen(event) => return None,
            At::AskSeen if hasty => At::RecordSeen,
            At::AskSeen => At::Mark,
            At::Mark => {
                state.set_mark(event, self.is(Variant::KeepUntilLooked));
                if hasty { At::Acquire } else { At::RecordSeen }
            }
            _ => {
                state.seen |= 1 << event;
                if hasty { At::Mark } else { At::Acquire }
            }
        };
        Some(run.going(next))
    }

    fn acquire(&self, state: &mut State, run: Run, how: How) -> Option<Run> {
        let Lock { owner, version, .. } = state.lock;
        if !state.lock.held {
            let valid = |run: &Run| run.lease.is_some_and(|lease| !lease.ended);
            state.noted.robbed |= state.runs.iter().any(valid);
            let stands_still = self.is(Variant::VersionsStandStill) && version > 0;
            state.lock.owner = owner + 1;
            state.lock.held = true;
            state.grant(version + u8::from(!stands_still));
        } else if !run.holds(&state.lock) {
            return None;
        }
        let run = run.with_lease(&state.lock);
        if how == How::Unanswered {
            return Some(run);
        }
        let rounds = run.rounds + 1;
        Some(Run { rounds, ..run }.going(At::ReadMark))
    }

    fn read_mark(&self, state: &State, run: Run) -> Run {
        let read = state.mark.map_or(0, |mark| mark.id);
        let run = Run { read, ..run };
        if read > 0 && self.clears_before_look() {
            return run.going(At::ClearMark);
        }
        run.going(At::BeginPass)
    }

    fn clear_mark(&self, state: &mut State, run: Run, how: How) -> Run {
        if matches!(how, How::Late | How::Doubled) {
            state.late = Some(Late {
                mark: run.read,
                owner: run.lease.map_or(0, |lease| lease.owner),
                orphan: false,
            });
        }
        if how == How::Late {
            return self.failing(run);
        }
        let took = self.take_mark(state, run.read);
        let run = Run { read: 0, ..run };
        if self.clears_before_look() {
            let owes = run.owes.max(took);
            return Run { owes, ..run }.going(At::BeginPass);
        }
        state.noted.cleared_in_vain |= took > state.noted.looked;
        run.going(At::Write)
    }

    /// Takes the mark away if it is this one, and tells for which events it was there.
    fn take_mark(&self, state: &mut State, id: u8) -> Event {
        let any = self.is(Variant::MarksWithoutIds);
        let taken = state.mark.take_if(|mark| any || mark.id == id);
        taken.map_or(0, |mark| mark.covers)
    }

    pub(crate) fn clear_late(&self, state: &mut State) {
        let Some(late) = state.late.take() else {
            return;
        };
        let took = self.take_mark(state, late.mark);
        let sender = state.runs.iter_mut().find(|run| run.makes_good_for(&late));
        if let Some(sender) = sender {
            sender.owes = sender.owes.max(took);
        } else if late.orphan {
            state.noted.excused = state.noted.excused.max(took);
        } else {
            state.noted.cleared_in_vain |= took > state.noted.looked;
        }
    }

    fn begin_pass(&self, state: &mut State, run: Run, how: How) -> Option<Run> {
        let lease = run.lease?;
        if how == How::Fails {
            return Some(self.failing(run));
        }
        let in_force = state.fence;
        if lease.version < in_force && !self.is(Variant::NoFence) {
            let settled = run.lifted || self.is(Variant::NoOutbid);
            return Some(match settled {
                true => self.failing(run),
                false => run.going(At::Outbid { in_force }),
            });
        }
        state.fence = in_force.max(lease.version);
        state.noted.begun = state.noted.begun.max(lease.owner);
        if how == How::Unanswered {
            return Some(self.failing(run));
        }
        state.noted.looked = state.world;
        let next = match run.read {
            0 => At::Write,
            _ if self.clears_before_look() => At::Write,
            _ => At::ClearMark,
        };
        Some(Run { owes: 0, ..run }.going(next))
    }

    fn outbid(&self, state: &mut State, run: Run, in_force: u8) -> Run {
        if run.holds(&state.lock) {
            state.grant(in_force + 1);
            let lifted = true;
            return Run { lifted, ..run }
                .with_lease(&state.lock)
                .going(At::ReadMark);
        }
        match self.variant {
            Variant::OutrunForgetsMark => run.going(At::Release { looked: false }),
            _ => self.failing(run),
        }
    }

    fn write(&self, state: &mut State, run: Run) -> Option<Run> {
        let lease = run.lease?;
        if lease.version >= state.fence || self.is(Variant::NoFence) {
            state.noted.stale_write |= lease.owner < state.noted.begun;
        }
        Some(run.going(At::Release { looked: true }))
    }

    fn release(&self, state: &mut State, run: Run, looked: bool) -> Option<Run> {
        if !run.holds(&state.lock) && !self.is(Variant::ReleaseOfAnyLock) {
            return None;
        }
        state.lock.held = false;
        if !looked || self.is(Variant::NoReread) {
            return None;
        }
        let rounds = run.rounds;
        let next = Run::new(run.who, At::Reread);
        Some(Run { rounds, ..next })
    }

    /// A round that could not look marks the region again.
    fn failing(&self, run: Run) -> Run {
        let run = Run { read: 0, ..run };
        match self.variant {
            Variant::KeepUntilLooked => run.going(At::Release { looked: false }),
            _ => run.going(At::MarkAgain),
        }
    }
}

fn reread(state: &mut State, run: Run, how: How) -> Option<Run> {
    state.mark?;
    if how == How::OutOfTime {
        state.runs.push(Run::new(Who::Pass, At::Acquire));
        return None;
    }
    Some(run.going(At::Acquire))
}

impl Run {
    fn going(self, at: At) -> Self {
        Self { at, ..self }
    }

    /// Knows the lock's new owner and version for its own.
    fn with_lease(self, lock: &Lock) -> Self {
        let lease = Some(Lease {
            owner: lock.owner,
            version: lock.version,
            ended: !lock.held,
        });
        Self { lease, ..self }
    }
}

impl State {
    fn grant(&mut self, version: u8) {
        self.noted.version_reused |= version <= self.noted.granted;
        self.noted.granted = version;
        self.lock.version = version;
    }

    /// The run's last request was answered; so is the event, if it was for one.
    fn end(&mut self, run: &Run) {
        if let Who::Webhook(event) = run.who {
            self.answered |= 1 << event;
        }
        self.noted.cleared_in_vain |= run.owes > self.noted.looked;
    }
}
