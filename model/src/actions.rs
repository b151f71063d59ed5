//! What may happen next in a state.

use stateright::{Model, Property};

use crate::properties;
use crate::protocol::{Protocol, ROUNDS, TOO_MANY_ACQUISITIONS};
use crate::state::{Event, Invocation, Request, State};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The region's state changes, and the event that announces the change is stored.
    Change,
    Deliver(Event),
    /// A scheduled pass starts. After the final one there are no more events and faults.
    Schedule {
        is_final: bool,
    },
    EndLease,
    /// A clear that was on its way arrives.
    DeliverDelayedClear,
    /// An invocation sends its next request.
    Send(Invocation, Outcome),
}

/// How a request ends, and what its sender learns of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered,
    /// The answer says that a mark is set, but there is no time left for another round.
    OutOfTime,
    /// The sender dies before it sends the request.
    SenderDies,
    /// The request has no effect. Its sender is told so, or gives it up.
    Fails,
    /// The request takes effect, but its sender gets no answer.
    AnswerLost,
    /// A transaction touches the lock's item, so nothing is written.
    Conflict,
    /// The request was sent twice. One copy is answered, the other is still on its way.
    Duplicated,
    /// The sender gives the request up, but it is still on its way.
    Delayed,
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            fence: self.bounds.fence,
            duplicates: self.bounds.duplicates,
            scheduled: self.bounds.scheduled,
            faults: self.bounds.faults,
            ..State::default()
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let may_fail = state.faults > 0 && !state.is_final;
        for invocation in &state.invocations {
            let fails_anyway = self.always_fails(invocation.next);
            let faults = match may_fail && !fails_anyway {
                true => possible_faults(invocation),
                false => &[],
            };
            let outcomes = self.regular_outcomes(invocation).iter().chain(faults);
            actions.extend(outcomes.map(|outcome| Action::Send(*invocation, *outcome)));
            if may_fail {
                actions.push(Action::Send(*invocation, Outcome::SenderDies));
            }
        }
        if state.lock.held && (may_fail || !state.any(|one| one.holds(&state.lock))) {
            actions.push(Action::EndLease);
        }
        if state.delayed_clear > 0 {
            actions.push(Action::DeliverDelayedClear);
        }
        if state.is_final {
            return;
        }
        if state.changed < self.bounds.events {
            actions.push(Action::Change);
        }
        if state.invocations.len() < self.bounds.invocations {
            let mut due: Vec<_> = (1..=state.changed).collect();
            due.retain(|event| state.duplicates > 0 || !state.is_duplicate(*event));
            actions.extend(due.into_iter().map(Action::Deliver));
            if state.scheduled > 0 {
                actions.push(Action::Schedule { is_final: false });
            }
        }
        if state.is_settled() && !state.lock.held {
            actions.push(Action::Schedule { is_final: true });
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Change => state.changed += 1,
            Action::Deliver(event) => {
                state.duplicates -= u8::from(state.is_duplicate(event));
                state.invocations.push(Invocation::webhook(event));
            }
            Action::Schedule { is_final } => {
                state.is_final = is_final;
                state.scheduled -= u8::from(!is_final);
                state.invocations.push(Invocation::default());
            }
            Action::EndLease => state.end_lease(),
            Action::DeliverDelayedClear => {
                let id = std::mem::take(&mut state.delayed_clear);
                self.clear(&mut state, id);
            }
            Action::Send(invocation, outcome) => {
                let mut all = state.invocations.iter();
                let index = all.position(|other| *other == invocation)?;
                state.invocations.swap_remove(index);
                self.send(&mut state, invocation, outcome);
            }
        }
        state.invocations.sort_unstable();
        Some(state)
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.lock.owner <= TOO_MANY_ACQUISITIONS
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

impl Protocol {
    /// The outcomes that do not count as faults.
    fn regular_outcomes(&self, invocation: &Invocation) -> &'static [Outcome] {
        match invocation.next {
            Request::RereadMark if invocation.rounds >= ROUNDS => &[Outcome::OutOfTime],
            Request::RereadMark => &[Outcome::Answered, Outcome::OutOfTime],
            next if self.always_fails(next) => &[Outcome::Fails],
            _ => &[Outcome::Answered],
        }
    }

    /// A permanent failure does not count as a fault.
    pub(crate) fn always_fails(&self, request: Request) -> bool {
        request == Request::ClearMark && !self.bounds.clears_succeed
    }
}

fn possible_faults(invocation: &Invocation) -> &'static [Outcome] {
    match invocation.next {
        Request::Acquire if invocation.lease.owner > 0 => &[Outcome::Conflict],
        Request::Acquire => &[Outcome::Conflict, Outcome::AnswerLost],
        Request::ListInstances => &[Outcome::Fails],
        Request::BeginPass => &[Outcome::AnswerLost],
        Request::RecordDecision => &[Outcome::Conflict],
        Request::ClearMark => &[Outcome::Fails, Outcome::Duplicated, Outcome::Delayed],
        Request::Release { settled: true } => &[Outcome::AnswerLost, Outcome::Fails],
        _ => &[],
    }
}

impl State {
    /// Another delivery of the event would be a duplicate: it was answered or is being handled.
    fn is_duplicate(&self, event: Event) -> bool {
        self.is_answered(event) || self.any(|one| one.event == event)
    }

    /// Ends the lease of a dead holder, or that of a living one, which does not notice.
    fn end_lease(&mut self) {
        let lock = self.lock;
        self.lock.held = false;
        if let Some(holder) = self.invocations.iter_mut().find(|one| one.holds(&lock)) {
            holder.lease.ended = true;
            self.faults -= 1;
            self.history.disturbed = true;
        }
    }
}
