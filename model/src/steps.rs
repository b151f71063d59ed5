//! What comes of a run's request, in the stores and for the run.

use crate::actions::How;
use crate::protocol::{Protocol, Variant};
use crate::state::{At, Lease, Lock, Run, State};

/// After a round that could not look, or is not settled: its decision is not recorded, or the
/// mark that it read not cleared. The mark, if there is one, waits for the schedule.
const LEAVES: At = At::Release { settled: false };
const SETTLED: At = At::Release { settled: true };

impl Protocol {
    /// Sends a run's request, and puts the run back unless this was its last.
    pub(crate) fn step(&self, state: &mut State, mut run: Run, how: How) {
        let is_fault = !matches!(how, How::Answered | How::OutOfTime);
        // What is made good at once: the sender of an acquisition asks again, that of a release
        // goes on, and a clear that was sent twice has worked.
        let is_mended = match run.at {
            At::Acquire | At::Release { .. } => how == How::Unanswered,
            At::ClearMark => how == How::Doubled,
            _ => false,
        };
        let is_counted = is_fault && !(how == How::Fails && self.is_never_cleared(run.at));
        state.faults -= u8::from(is_counted);
        state.noted.disturbed |= is_fault && !is_mended;
        if how == How::Dies {
            return;
        }
        let next = match run.at {
            At::AskSeen | At::Mark | At::RecordSeen => self.wake(state, &run),
            At::Acquire => self.acquire(state, &mut run, how),
            At::ReadMark => Some(self.read_mark(state, &mut run)),
            At::List => Some(list(state, &mut run, how)),
            At::BeginPass => Some(self.begin_pass(state, &mut run, how)),
            At::Outbid { in_force } => Some(self.outbid(state, &mut run, in_force)),
            At::Write => Some(self.write(state, &mut run)),
            At::Record => Some(self.record(state, &run, how)),
            At::ClearMark => Some(self.clear_mark(state, &mut run, how)),
            At::Release { settled } => self.release(state, &mut run, settled, how),
            At::Reread => reread(state, how),
        };
        match next {
            Some(at) => state.runs.push(run.going(at)),
            // Its last request was answered, and so is the event.
            None if run.event > 0 => state.answered |= 1 << run.event,
            None => {}
        }
    }

    /// An event is asked for, marked, and only then recorded as seen.
    fn wake(&self, state: &mut State, run: &Run) -> Option<At> {
        let hasty = self.is(Variant::SeenBeforeMarked);
        match run.at {
            At::AskSeen if state.is_seen(run.event) => None,
            At::AskSeen if hasty => Some(At::RecordSeen),
            At::AskSeen => Some(At::Mark),
            At::Mark => {
                state.noted.marked = state.noted.marked.max(run.event);
                if state.mark == 0 || !self.is(Variant::MarkOnlyIfUnset) {
                    state.set_mark();
                }
                Some(if hasty { At::Acquire } else { At::RecordSeen })
            }
            _ => {
                state.seen |= 1 << run.event;
                Some(if hasty { At::Mark } else { At::Acquire })
            }
        }
    }

    fn acquire(&self, state: &mut State, run: &mut Run, how: How) -> Option<At> {
        let Lock { version, held, .. } = state.lock;
        if how == How::Conflict || (held && !run.holds(&state.lock)) {
            return None;
        }
        if !held {
            state.noted.robbed |= state.any(|run| run.lease.owner > 0 && !run.lease.ended);
            let stands_still = self.is(Variant::VersionsStandStill) && version > 0;
            state.lock.owner += 1;
            state.lock.held = true;
            state.grant(run, version + u8::from(!stands_still));
        }
        if how == How::Unanswered {
            return Some(At::Acquire);
        }
        run.rounds += 1;
        Some(At::ReadMark)
    }

    fn read_mark(&self, state: &State, run: &mut Run) -> At {
        run.read = state.mark;
        match self.is(Variant::ClearBeforeLook) && run.read > 0 {
            true => At::ClearMark,
            false => At::List,
        }
    }

    fn begin_pass(&self, state: &mut State, run: &mut Run, how: How) -> At {
        let Lease { owner, version, .. } = run.lease;
        let in_force = state.fence;
        if version < in_force && !self.is(Variant::NoFence) {
            return match run.lifted || self.is(Variant::NoOutbid) {
                true => LEAVES,
                false => At::Outbid { in_force },
            };
        }
        state.fence = in_force.max(version);
        state.noted.begun = state.noted.begun.max(owner);
        if how == How::Unanswered {
            return LEAVES;
        }
        if self.is(Variant::ReadWithLook) {
            run.read = state.mark;
        }
        match self.is(Variant::ClearAfterLook) && run.read > 0 {
            true => At::ClearMark,
            false => At::Write,
        }
    }

    fn outbid(&self, state: &mut State, run: &mut Run, in_force: u8) -> At {
        if run.holds(&state.lock) {
            state.grant(run, in_force + 1);
            (run.lifted, run.sees) = (true, 0);
            return At::ReadMark;
        }
        LEAVES
    }

    fn write(&self, state: &mut State, run: &mut Run) -> At {
        let Lease { owner, version, .. } = run.lease;
        if version >= state.fence || self.is(Variant::NoFence) {
            state.noted.stale_write |= owner < state.noted.begun;
            state.noted.acted = state.noted.acted.max(run.sees);
        }
        run.sees = 0;
        At::Record
    }

    /// A holder that was outrun may have written nothing: the mark is its successor's.
    fn record(&self, state: &State, run: &Run, how: How) -> At {
        let recorded = how == How::Answered && run.holds(&state.lock);
        match recorded || self.is(Variant::ClearUnrecorded) {
            true if run.read > 0 => At::ClearMark,
            true => SETTLED,
            false => self.unsettled(),
        }
    }

    /// Its sender does not go again at once: the mark, which it left, would be found each time.
    fn unsettled(&self) -> At {
        match self.is(Variant::UnsettledGoesOn) {
            true => SETTLED,
            false => LEAVES,
        }
    }

    fn clear_mark(&self, state: &mut State, run: &mut Run, how: How) -> At {
        if matches!(how, How::Late | How::Doubled) {
            state.late_clear = run.read;
        }
        if matches!(how, How::Late | How::Fails) {
            return self.unsettled();
        }
        self.clear(state, run.read);
        run.read = 0;
        match self.variant {
            Variant::ClearBeforeLook => At::List,
            Variant::ClearAfterLook => At::Write,
            _ => SETTLED,
        }
    }

    /// Takes the mark away if it is this one.
    pub(crate) fn clear(&self, state: &mut State, id: u8) {
        if state.mark == id || self.is(Variant::MarksWithoutIds) {
            state.mark = 0;
        }
    }

    fn release(&self, state: &mut State, run: &mut Run, settled: bool, how: How) -> Option<At> {
        let frees = run.holds(&state.lock) || self.is(Variant::ReleaseOfAnyLock);
        if frees && how != How::Fails {
            state.lock.held = false;
        }
        (run.lease, run.lifted) = (Lease::default(), false);
        let leaves = match self.variant {
            Variant::NoReread => true,
            Variant::UnansweredReleaseLeaves => how != How::Answered,
            _ => false,
        };
        (settled && !leaves).then_some(At::Reread)
    }
}

fn list(state: &State, run: &mut Run, how: How) -> At {
    if how == How::Fails {
        return LEAVES;
    }
    run.sees = state.world;
    At::BeginPass
}

fn reread(state: &mut State, how: How) -> Option<At> {
    if state.mark > 0 && how == How::OutOfTime {
        state.runs.push(Run::default());
        return None;
    }
    (state.mark > 0).then_some(At::Acquire)
}

impl Run {
    fn going(mut self, at: At) -> Self {
        if matches!(at, At::Release { .. }) {
            (self.read, self.sees) = (0, 0);
        }
        Self { at, ..self }
    }
}

impl State {
    fn grant(&mut self, run: &mut Run, version: u8) {
        self.noted.version_reused |= version <= self.noted.granted;
        self.noted.granted = version;
        self.lock.version = version;
        run.lease = Lease {
            owner: self.lock.owner,
            version,
            ended: !self.lock.held,
        };
    }
}
