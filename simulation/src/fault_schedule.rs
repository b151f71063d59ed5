//! The faults of one run: which ones occur, when, and what happens to the process that they hit.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::faults::{Counts, Fault};
use crate::random::Random;
use crate::yield_points::{Delivery, Port, Reached, Side};

/// The faults of one run.
#[derive(Clone, Debug)]
pub struct FaultSchedule {
    rates: BTreeMap<Fault, u64>,
    /// The usual duration of half a call, in milliseconds.
    half_call_ms: u64,
    random: Random,
    pub counts: Counts,
    /// The number of yield points that functions have reached; sleeps are not counted.
    pub reached: u64,
    /// A fault at one certain yield point.
    planned: Option<(u64, Action)>,
}

/// What happens to a process that has reached a yield point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    pub after: Duration,
    pub action: Action,
    /// For the trace.
    pub fault: Option<Fault>,
}

/// What happens at a yield point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The call goes on, with or without an answer.
    Resume(Delivery),
    Crash,
    /// The request is sent, and its sender dies immediately.
    CrashInFlight(Duration),
    /// The whole process stands still for this time, and then the call goes on.
    Pause(Duration),
}

/// Half a call takes at most this long, in milliseconds. A client gives up on a call to EC2 after
/// eight seconds, and on others after five or ten: a whole call takes less than the least of these.
const LONGEST_HALF_CALL_MS: u64 = 2400;

impl FaultSchedule {
    /// The seed's own choice: about half of the kinds, each at a rate of its own.
    pub fn random(mut random: Random) -> Self {
        let rates = Fault::ALL
            .into_iter()
            .filter_map(|fault| {
                let chosen = random.chance(500);
                let share = random.between(1..=4);
                chosen.then(|| (fault, (fault.permille() * share / 4).max(1)))
            })
            .collect();
        let half_call_ms = *random.pick(&[5, 40, 300, 1200]);
        Self {
            rates,
            half_call_ms,
            random,
            counts: Counts::new(),
            reached: 0,
            planned: None,
        }
    }

    /// No faults.
    pub fn none(random: Random) -> Self {
        Self {
            rates: BTreeMap::new(),
            half_call_ms: 40,
            random,
            counts: Counts::new(),
            reached: 0,
            planned: None,
        }
    }

    /// Only these faults, at their full rate.
    pub fn only(faults: &[Fault], random: Random) -> Self {
        let rates = faults.iter().map(|fault| (*fault, fault.permille().max(1)));
        Self {
            rates: rates.collect(),
            ..Self::none(random)
        }
    }

    /// Only this fault, once: at the yield point with this number, counted from 0.
    pub fn once(point: u64, action: Action, random: Random) -> Self {
        Self {
            planned: Some((point, action)),
            ..Self::none(random)
        }
    }

    /// Stops all faults.
    pub fn stop(&mut self) {
        self.rates.clear();
        self.half_call_ms = self.half_call_ms.min(40);
    }

    /// Draws whether a fault occurs this time, and counts it if so.
    pub fn occurs(&mut self, fault: Fault) -> bool {
        let permille = self.rates.get(&fault).copied().unwrap_or(0);
        let occurs = permille > 0 && self.random.chance(permille);
        if occurs {
            self.count(fault);
        }
        occurs
    }

    /// Counts a fault that another one has caused.
    pub fn count(&mut self, fault: Fault) {
        *self.counts.entry(fault).or_default() += 1;
    }

    /// The stream of random numbers for details of faults.
    pub fn random_numbers(&mut self) -> &mut Random {
        &mut self.random
    }

    fn half_call(&mut self) -> Duration {
        let (shorter, longer) = (self.half_call_ms / 4 + 1, self.half_call_ms * 2);
        let millis = if self.random.chance(50) {
            self.random.between(0..=self.half_call_ms * 8)
        } else {
            self.random.between(shorter..=longer)
        };
        Duration::from_millis(millis.min(LONGEST_HALF_CALL_MS))
    }

    fn seconds(&mut self, range: std::ops::RangeInclusive<u64>) -> Duration {
        let (low, high) = range.into_inner();
        Duration::from_millis(self.random.between(low * 1000..=high * 1000))
    }

    /// Draws what happens to a process at a yield point.
    pub fn draw(&mut self, reached: &Reached) -> Injection {
        let (after, side) = match reached.side {
            Side::Sleep(duration) => (duration, Side::After),
            side => (self.half_call(), side),
        };
        let injection = |action, fault| Injection {
            after,
            action,
            fault,
        };
        if reached.call.port == Port::Sleep {
            return match self.occurs(Fault::CrashAfter) {
                true => injection(Action::Crash, Some(Fault::CrashAfter)),
                false => injection(Action::Resume(Delivery::Normal), None),
            };
        }
        let number = self.reached;
        self.reached += 1;
        if let Some((point, action)) = self.planned
            && point == number
        {
            let fault = match (action, side) {
                (Action::CrashInFlight(_), _) => Fault::CrashInFlight,
                (_, Side::Before) => Fault::CrashBefore,
                _ => Fault::CrashAfter,
            };
            self.count(fault);
            return injection(action, Some(fault));
        }
        let here: &[Fault] = match side {
            Side::Before => &[
                Fault::CrashBefore,
                Fault::CrashInFlight,
                Fault::NoAnswerBefore,
                Fault::LateRequest,
                Fault::Pause,
            ],
            _ => &[Fault::CrashAfter, Fault::NoAnswerAfter, Fault::Pause],
        };
        let Some(fault) = here.iter().copied().find(|fault| self.occurs(*fault)) else {
            return injection(Action::Resume(Delivery::Normal), None);
        };
        let action = match fault {
            Fault::CrashInFlight => Action::CrashInFlight(self.seconds(0..=90)),
            Fault::LateRequest => Action::Resume(Delivery::Late(self.seconds(0..=90))),
            Fault::NoAnswerBefore | Fault::NoAnswerAfter => Action::Resume(Delivery::NoAnswer),
            Fault::Pause => Action::Pause(self.seconds(5..=58)),
            _ => Action::Crash,
        };
        // The caller waits for the answer before it gives up.
        let after = match action {
            Action::Resume(Delivery::NoAnswer | Delivery::Late(_)) => self.seconds(0..=6),
            _ => after,
        };
        Injection {
            after,
            action,
            fault: Some(fault),
        }
    }
}
