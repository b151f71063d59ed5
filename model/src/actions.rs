//! What may happen next.

use stateright::{Model, Property};

use crate::properties;
use crate::protocol::{Protocol, ROUNDS, TOO_MANY};
use crate::state::{At, Event, Run, State};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The world changes, and with it the event that announces it is stored.
    Change,
    Deliver(Event),
    /// With the last scheduled pass, events and faults are over.
    Schedule {
        is_last: bool,
    },
    LeaseEnds,
    LateClear,
    /// A run sends its next request.
    Step(Run, How),
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Answered,
    /// It says that the region is wanted, but there is no time left for another round.
    OutOfTime,
    /// Its sender dies before it sends it.
    Dies,
    /// It has no effect, and its sender is told or gives it up.
    Fails,
    /// It has its effect, and its sender does not hear of it.
    Unanswered,
    /// A transaction touches the lock's item: nothing is written.
    Conflict,
    /// It was sent twice, and one of the two is still on its way.
    Doubled,
    /// Its sender gives it up, but it is still on its way.
    Late,
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            fence: self.bounds.fence,
            duplicates: self.bounds.duplicates,
            schedules: self.bounds.schedules,
            faults: self.bounds.faults,
            ..State::default()
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let faulty = state.faults > 0 && !state.quiet;
        for run in &state.runs {
            let fails_anyway = self.is_never_cleared(run.at);
            let faults = match faulty && !fails_anyway {
                true => faults_of(run),
                false => &[],
            };
            let ways = self.answers_to(run).iter().chain(faults);
            actions.extend(ways.map(|how| Action::Step(*run, *how)));
            if faulty {
                actions.push(Action::Step(*run, How::Dies));
            }
        }
        if state.lock.held && (faulty || !state.any(|run| run.holds(&state.lock))) {
            actions.push(Action::LeaseEnds);
        }
        if state.late_clear > 0 {
            actions.push(Action::LateClear);
        }
        if state.quiet {
            return;
        }
        if state.world < self.bounds.events {
            actions.push(Action::Change);
        }
        if state.runs.len() < self.bounds.at_once {
            let mut due: Vec<_> = (1..=state.world).collect();
            due.retain(|event| state.duplicates > 0 || !state.was_sent(*event));
            actions.extend(due.into_iter().map(Action::Deliver));
            if state.schedules > 0 {
                actions.push(Action::Schedule { is_last: false });
            }
        }
        if state.is_settled() && !state.lock.held {
            actions.push(Action::Schedule { is_last: true });
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Change => state.world += 1,
            Action::Deliver(event) => {
                state.duplicates -= u8::from(state.was_sent(event));
                state.runs.push(Run::webhook(event));
            }
            Action::Schedule { is_last } => {
                state.quiet = is_last;
                state.schedules -= u8::from(!is_last);
                state.runs.push(Run::default());
            }
            Action::LeaseEnds => state.end_lease(),
            Action::LateClear => {
                let id = std::mem::take(&mut state.late_clear);
                self.clear(&mut state, id);
            }
            Action::Step(run, how) => {
                let at = state.runs.iter().position(|other| *other == run)?;
                state.runs.swap_remove(at);
                self.step(&mut state, run, how);
            }
        }
        state.runs.sort_unstable();
        Some(state)
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.lock.owner <= TOO_MANY
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

impl Protocol {
    fn answers_to(&self, run: &Run) -> &'static [How] {
        match run.at {
            At::Reread if run.rounds >= ROUNDS => &[How::OutOfTime],
            At::Reread => &[How::Answered, How::OutOfTime],
            at if self.is_never_cleared(at) => &[How::Fails],
            _ => &[How::Answered],
        }
    }

    /// What fails each time is not counted among the faults.
    pub(crate) fn is_never_cleared(&self, at: At) -> bool {
        at == At::ClearMark && !self.bounds.clears
    }
}

fn faults_of(run: &Run) -> &'static [How] {
    match run.at {
        At::Acquire if run.lease.owner > 0 => &[How::Conflict],
        At::Acquire => &[How::Conflict, How::Unanswered],
        At::List => &[How::Fails],
        At::BeginPass => &[How::Unanswered],
        At::Record => &[How::Conflict],
        At::ClearMark => &[How::Fails, How::Doubled, How::Late],
        At::Release { settled: true } => &[How::Unanswered, How::Fails],
        _ => &[],
    }
}

impl State {
    /// Was answered, or somebody is at it.
    fn was_sent(&self, event: Event) -> bool {
        self.is_answered(event) || self.any(|run| run.event == event)
    }

    /// Of a dead holder; or of a living one, that does not notice.
    fn end_lease(&mut self) {
        let lock = self.lock;
        self.lock.held = false;
        if let Some(holder) = self.runs.iter_mut().find(|run| run.holds(&lock)) {
            holder.lease.ended = true;
            self.faults -= 1;
            self.noted.disturbed = true;
        }
    }
}
