//! What a request changes in the stores, and which request its sender sends next.

use crate::actions::Outcome;
use crate::protocol::{Protocol, Variant};
use crate::state::{Invocation, Lease, Lock, Request, State};

/// The end of a round that could not observe, record its decision, or clear the mark that it read.
/// A mark that is set is left to the schedule.
const RELEASE_UNSETTLED: Request = Request::Release { settled: false };
const RELEASE_SETTLED: Request = Request::Release { settled: true };

impl Protocol {
    /// Sends an invocation's request, and puts the invocation back unless the request was its last.
    pub(crate) fn send(&self, state: &mut State, mut invocation: Invocation, outcome: Outcome) {
        let request = invocation.next;
        let is_fault = !matches!(outcome, Outcome::Answered | Outcome::OutOfTime);
        // Faults without consequences: the sender of an acquisition asks again, that of a release
        // continues, and a clear that was sent twice has worked.
        let is_harmless = match request {
            Request::Acquire | Request::Release { .. } => outcome == Outcome::AnswerLost,
            Request::ClearMark => outcome == Outcome::Duplicated,
            _ => false,
        };
        let is_permanent = outcome == Outcome::Fails && self.always_fails(request);
        state.faults -= u8::from(is_fault && !is_permanent);
        state.history.disturbed |= is_fault && !is_harmless;
        if outcome == Outcome::SenderDies {
            return;
        }
        let one = &mut invocation;
        let next = match request {
            Request::CheckSeen => self.check_seen(state, one),
            Request::SetMark => Some(self.set_mark(state, one)),
            Request::RecordSeen => Some(self.record_seen(state, one)),
            Request::Acquire => self.acquire(state, one, outcome),
            Request::ReadMark => Some(self.read_mark(state, one)),
            Request::ListInstances => Some(list_instances(state, one, outcome)),
            Request::BeginPass => Some(self.begin_pass(state, one, outcome)),
            Request::AdvancePastFence { fence } => Some(advance_past_fence(state, one, fence)),
            Request::Write => Some(self.write(state, one)),
            Request::RecordDecision => Some(self.record_decision(state, one, outcome)),
            Request::ClearMark => Some(self.clear_mark(state, one, outcome)),
            Request::Release { settled } => self.release(state, one, settled, outcome),
            Request::RereadMark => reread_mark(state, outcome),
        };
        match next {
            Some(next) => state.invocations.push(invocation.with_next(next)),
            // A webhook answers its event when it ends.
            None if invocation.event > 0 => state.answered |= 1 << invocation.event,
            None => {}
        }
    }

    /// An event that was not seen is marked, and only then recorded as seen.
    fn check_seen(&self, state: &State, one: &Invocation) -> Option<Request> {
        if state.is_seen(one.event) {
            return None;
        }
        match self.is(Variant::SeenBeforeMarked) {
            true => Some(Request::RecordSeen),
            false => Some(Request::SetMark),
        }
    }

    fn set_mark(&self, state: &mut State, one: &Invocation) -> Request {
        state.history.marked = state.history.marked.max(one.event);
        if state.mark == 0 || !self.is(Variant::MarkOnlyIfUnset) {
            state.set_mark();
        }
        match self.is(Variant::SeenBeforeMarked) {
            true => Request::Acquire,
            false => Request::RecordSeen,
        }
    }

    fn record_seen(&self, state: &mut State, one: &Invocation) -> Request {
        state.seen |= 1 << one.event;
        match self.is(Variant::SeenBeforeMarked) {
            true => Request::SetMark,
            false => Request::Acquire,
        }
    }

    fn acquire(
        &self,
        state: &mut State,
        one: &mut Invocation,
        outcome: Outcome,
    ) -> Option<Request> {
        let Lock { version, held, .. } = state.lock;
        if outcome == Outcome::Conflict || (held && !one.holds(&state.lock)) {
            return None;
        }
        if !held {
            state.history.lease_ignored |=
                state.any(|other| other.lease.owner > 0 && !other.lease.ended);
            let repeats = self.is(Variant::VersionsRepeat) && version > 0;
            state.lock.owner += 1;
            state.lock.held = true;
            state.grant(one, version + u8::from(!repeats));
        }
        if outcome == Outcome::AnswerLost {
            return Some(Request::Acquire);
        }
        one.rounds += 1;
        Some(Request::ReadMark)
    }

    fn read_mark(&self, state: &State, one: &mut Invocation) -> Request {
        one.mark = state.mark;
        match self.is(Variant::ClearBeforeObserve) && one.mark > 0 {
            true => Request::ClearMark,
            false => Request::ListInstances,
        }
    }

    fn begin_pass(&self, state: &mut State, one: &mut Invocation, outcome: Outcome) -> Request {
        let Lease { owner, version, .. } = one.lease;
        let fence = state.fence;
        if version < fence && !self.is(Variant::NoFence) {
            return match one.advanced || self.is(Variant::NoAdvancePastFence) {
                true => RELEASE_UNSETTLED,
                false => Request::AdvancePastFence { fence },
            };
        }
        state.fence = fence.max(version);
        state.history.begun = state.history.begun.max(owner);
        if outcome == Outcome::AnswerLost {
            return RELEASE_UNSETTLED;
        }
        if self.is(Variant::ReadDuringObserve) {
            one.mark = state.mark;
        }
        match self.is(Variant::ClearBeforeExecute) && one.mark > 0 {
            true => Request::ClearMark,
            false => Request::Write,
        }
    }

    fn write(&self, state: &mut State, one: &mut Invocation) -> Request {
        let Lease { owner, version, .. } = one.lease;
        if version >= state.fence || self.is(Variant::NoFence) {
            state.history.stale_write |= owner < state.history.begun;
            state.history.acted = state.history.acted.max(one.observed);
        }
        one.observed = 0;
        Request::RecordDecision
    }

    /// A holder that lost the lock may have written nothing, so it leaves the mark to the next one.
    fn record_decision(&self, state: &State, one: &Invocation, outcome: Outcome) -> Request {
        let recorded = outcome == Outcome::Answered && one.holds(&state.lock);
        match recorded || self.is(Variant::ClearWithoutRecord) {
            true if one.mark > 0 => Request::ClearMark,
            true => RELEASE_SETTLED,
            false => self.release_unsettled(),
        }
    }

    /// A holder that left its mark does not start another round: it would find the mark each time.
    fn release_unsettled(&self) -> Request {
        match self.is(Variant::UnsettledContinues) {
            true => RELEASE_SETTLED,
            false => RELEASE_UNSETTLED,
        }
    }

    fn clear_mark(&self, state: &mut State, one: &mut Invocation, outcome: Outcome) -> Request {
        if matches!(outcome, Outcome::Delayed | Outcome::Duplicated) {
            state.delayed_clear = one.mark;
        }
        if matches!(outcome, Outcome::Delayed | Outcome::Fails) {
            return self.release_unsettled();
        }
        self.clear(state, one.mark);
        one.mark = 0;
        match self.variant {
            Variant::ClearBeforeObserve => Request::ListInstances,
            Variant::ClearBeforeExecute => Request::Write,
            _ => RELEASE_SETTLED,
        }
    }

    /// Removes the mark if it has this id.
    pub(crate) fn clear(&self, state: &mut State, id: u8) {
        if state.mark == id || self.is(Variant::MarksWithoutIds) {
            state.mark = 0;
        }
    }

    fn release(
        &self,
        state: &mut State,
        one: &mut Invocation,
        settled: bool,
        outcome: Outcome,
    ) -> Option<Request> {
        let may_free = one.holds(&state.lock) || self.is(Variant::ReleaseWithoutOwner);
        if may_free && outcome != Outcome::Fails {
            state.lock.held = false;
        }
        (one.lease, one.advanced) = (Lease::default(), false);
        let ends = match self.variant {
            Variant::NoReread => true,
            Variant::UnansweredReleaseEndsPass => outcome != Outcome::Answered,
            _ => false,
        };
        (settled && !ends).then_some(Request::RereadMark)
    }
}

fn list_instances(state: &State, one: &mut Invocation, outcome: Outcome) -> Request {
    if outcome == Outcome::Fails {
        return RELEASE_UNSETTLED;
    }
    one.observed = state.changed;
    Request::BeginPass
}

fn advance_past_fence(state: &mut State, one: &mut Invocation, fence: u8) -> Request {
    if !one.holds(&state.lock) {
        return RELEASE_UNSETTLED;
    }
    state.grant(one, fence + 1);
    (one.advanced, one.observed) = (true, 0);
    Request::ReadMark
}

fn reread_mark(state: &mut State, outcome: Outcome) -> Option<Request> {
    if state.mark > 0 && outcome == Outcome::OutOfTime {
        // Handed over to another invocation.
        state.invocations.push(Invocation::default());
        return None;
    }
    (state.mark > 0).then_some(Request::Acquire)
}

impl Invocation {
    fn with_next(mut self, next: Request) -> Self {
        if matches!(next, Request::Release { .. }) {
            (self.mark, self.observed) = (0, 0);
        }
        Self { next, ..self }
    }
}

impl State {
    fn grant(&mut self, one: &mut Invocation, version: u8) {
        self.history.version_reused |= version <= self.history.granted;
        self.history.granted = version;
        self.lock.version = version;
        one.lease = Lease {
            owner: self.lock.owner,
            version,
            ended: !self.lock.held,
        };
    }
}
