//! What may happen next.

use std::fmt;

use stateright::{Model, Property};

use crate::properties;
use crate::protocol::Protocol;
use crate::state::{At, Event, Lock, Noted, Run, State, Who};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The world changes, and with it the event that announces it is stored.
    Change,
    Deliver(Event),
    Schedule,
    /// Events and faults are over; the schedule goes on.
    LastSchedule,
    LeaseEnds,
    LateClear,
    /// A run sends its next request.
    Step(Run, How),
    Crash(Run),
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Answered,
    /// It says that the region is wanted, but there is no time left for another round.
    OutOfTime,
    Fails,
    /// It has its effect, and its sender does not hear of it.
    Unanswered,
    /// It was sent twice, and one of the two is still on its way.
    Doubled,
    /// Its sender gives it up, but it is still on its way.
    Late,
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = |run: &Run| match run.lease {
            Some(lease) => format!("{:?} as holder {}", run.who, lease.owner),
            None => format!("{:?}", run.who),
        };
        match self {
            Self::Change => write!(f, "the world changes"),
            Self::Deliver(event) => write!(f, "event {event} is delivered"),
            Self::Schedule => write!(f, "a scheduled pass starts"),
            Self::LastSchedule => write!(f, "the last scheduled pass starts"),
            Self::LeaseEnds => write!(f, "the lease ends"),
            Self::LateClear => write!(f, "the late clear arrives"),
            Self::Step(run, How::Answered) => write!(f, "{}: {:?}", by(run), run.at),
            Self::Step(run, how) => write!(f, "{}: {:?}, {how:?}", by(run), run.at),
            Self::Crash(run) => write!(f, "{} dies before {:?}", by(run), run.at),
        }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            lock: Lock::default(),
            mark: None,
            seen: 0,
            world: 0,
            fence: self.bounds.fence,
            answered: 0,
            runs: Vec::new(),
            late: None,
            duplicates: self.bounds.duplicates,
            schedules: self.bounds.schedules,
            faults: self.bounds.faults,
            quiet: false,
            noted: Noted::default(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let faulty = state.faults > 0 && !state.quiet;
        for run in &state.runs {
            let faults = if faulty { faults_of(run) } else { &[] };
            let ways = self.answers_to(run).iter().chain(faults);
            actions.extend(ways.map(|how| Action::Step(*run, *how)));
            if faulty {
                actions.push(Action::Crash(*run));
            }
        }
        let holder_lives = state.runs.iter().any(|run| run.holds(&state.lock));
        if state.lock.held && (faulty || !holder_lives) {
            actions.push(Action::LeaseEnds);
        }
        if state.late.is_some() {
            actions.push(Action::LateClear);
        }
        if state.quiet {
            return;
        }
        if state.world < self.bounds.events {
            actions.push(Action::Change);
        }
        if state.runs.len() < self.bounds.at_once {
            let due = (1..=state.world).filter(|event| state.is_due(*event));
            actions.extend(due.map(Action::Deliver));
            if state.schedules > 0 {
                actions.push(Action::Schedule);
            }
        }
        if state.is_settled() && !state.lock.held {
            actions.push(Action::LastSchedule);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Change => state.world += 1,
            Action::Deliver(event) => {
                state.duplicates -= u8::from(state.was_sent(event));
                state.runs.push(Run::new(Who::Webhook(event), At::AskSeen));
            }
            Action::Schedule => {
                state.schedules -= 1;
                state.runs.push(Run::new(Who::Pass, At::Acquire));
            }
            Action::LastSchedule => {
                state.quiet = true;
                state.runs.push(Run::new(Who::Pass, At::Acquire));
            }
            Action::LeaseEnds => state.end_lease(),
            Action::LateClear => self.clear_late(&mut state),
            Action::Step(run, how) => {
                state.take_out(&run)?;
                self.step(&mut state, run, how);
            }
            Action::Crash(run) => {
                state.take_out(&run)?;
                state.crash(&run);
            }
        }
        state.runs.sort_unstable();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

impl Protocol {
    fn answers_to(&self, run: &Run) -> &'static [How] {
        match run.at {
            At::Reread if run.rounds >= self.bounds.rounds => &[How::OutOfTime],
            At::Reread => &[How::Answered, How::OutOfTime],
            _ => &[How::Answered],
        }
    }
}

fn faults_of(run: &Run) -> &'static [How] {
    match run.at {
        At::Acquire if run.lease.is_none() => &[How::Unanswered],
        At::ClearMark => &[How::Doubled, How::Late],
        At::BeginPass => &[How::Fails, How::Unanswered],
        _ => &[],
    }
}

impl State {
    /// Was answered, or somebody is at it.
    fn was_sent(&self, event: Event) -> bool {
        self.is_answered(event) || self.runs.iter().any(|run| run.who == Who::Webhook(event))
    }

    fn is_due(&self, event: Event) -> bool {
        !self.was_sent(event) || self.duplicates > 0
    }

    fn take_out(&mut self, run: &Run) -> Option<Run> {
        let at = self.runs.iter().position(|other| other == run)?;
        Some(self.runs.swap_remove(at))
    }

    /// Of a dead holder; or of a living one, that does not notice.
    fn end_lease(&mut self) {
        let lock = self.lock;
        self.lock.held = false;
        let holder = self.runs.iter_mut().find(|run| run.holds(&lock));
        if let Some(lease) = holder.and_then(|run| run.lease.as_mut()) {
            lease.ended = true;
            self.faults -= 1;
            self.noted.disturbed = true;
        }
    }

    fn crash(&mut self, run: &Run) {
        self.faults -= 1;
        self.noted.disturbed = true;
        self.noted.excused = self.noted.excused.max(run.owes);
        if let Some(late) = &mut self.late {
            late.orphan |= run.makes_good_for(late);
        }
    }
}
