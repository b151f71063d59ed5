//! The faults of one run: which strike, when, and what becomes of whom they strike.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::dice::Dice;
use crate::faults::{Counts, Fault};
use crate::gate::{Arrival, Port, Side, Verdict};

/// The faults of one run.
#[derive(Clone, Debug)]
pub struct Plan {
    rates: BTreeMap<Fault, u64>,
    /// The usual time that half of a call takes, in milliseconds.
    pace: u64,
    dice: Dice,
    pub counts: Counts,
    /// Gates of functions that were come to so far; waits are none.
    pub arrivals: u64,
    /// What becomes of whoever comes to one certain gate.
    strike: Option<(u64, Then)>,
}

/// What is to become of a process that arrived at a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    pub after: Duration,
    pub then: Then,
    /// For a line of the trace.
    pub fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Open(Verdict),
    Crash,
    /// The request is sent, and its sender dies at once.
    CrashInFlight(Duration),
    /// Everything of this process waits for so long, then the gate opens.
    Pause(Duration),
}

/// A client gives up on a call after eight seconds (EC2's limit; the others' are five and ten):
/// each half of a call that is answered takes less than half of the least of them.
const LONGEST_HALF: u64 = 2400;

impl Plan {
    /// The seed's own choice: about half of the kinds, each at a rate of its own.
    pub fn drawn(mut dice: Dice) -> Self {
        // On dice of their own: what a run without upgrades draws is what it always was.
        let mut of_images = dice.clone().fork();
        let rates = Fault::ALL
            .into_iter()
            .filter_map(|fault| {
                let dice = match fault.is_of_images() {
                    true => &mut of_images,
                    false => &mut dice,
                };
                let chosen = dice.chance(500);
                let share = dice.between(1..=4);
                chosen.then(|| (fault, (fault.permille() * share / 4).max(1)))
            })
            .collect();
        let pace = *dice.pick(&[5, 40, 300, 1200]);
        Self {
            rates,
            pace,
            dice,
            counts: Counts::new(),
            arrivals: 0,
            strike: None,
        }
    }

    /// Nothing goes wrong.
    pub fn calm(dice: Dice) -> Self {
        Self {
            rates: BTreeMap::new(),
            pace: 40,
            dice,
            counts: Counts::new(),
            arrivals: 0,
            strike: None,
        }
    }

    /// Only these, at full rate.
    pub fn only(faults: &[Fault], dice: Dice) -> Self {
        let rates = faults.iter().map(|fault| (*fault, fault.permille().max(1)));
        Self {
            rates: rates.collect(),
            ..Self::calm(dice)
        }
    }

    /// Only this, once: at the gate with this number, counted from 0.
    pub fn once(gate: u64, then: Then, dice: Dice) -> Self {
        Self {
            strike: Some((gate, then)),
            ..Self::calm(dice)
        }
    }

    /// From now on nothing goes wrong any more.
    pub fn stop(&mut self) {
        self.rates.clear();
        self.pace = self.pace.min(40);
    }

    /// Whether it strikes this time; counted if so.
    pub fn strikes(&mut self, fault: Fault) -> bool {
        let permille = self.rates.get(&fault).copied().unwrap_or(0);
        let strikes = permille > 0 && self.dice.chance(permille);
        if strikes {
            self.note(fault);
        }
        strikes
    }

    pub fn note(&mut self, fault: Fault) {
        *self.counts.entry(fault).or_default() += 1;
    }

    pub fn dice(&mut self) -> &mut Dice {
        &mut self.dice
    }

    fn half_a_call(&mut self) -> Duration {
        let (shorter, longer) = (self.pace / 4 + 1, self.pace * 2);
        let millis = if self.dice.chance(50) {
            self.dice.between(0..=self.pace * 8)
        } else {
            self.dice.between(shorter..=longer)
        };
        Duration::from_millis(millis.min(LONGEST_HALF))
    }

    fn seconds(&mut self, range: std::ops::RangeInclusive<u64>) -> Duration {
        let (low, high) = range.into_inner();
        Duration::from_millis(self.dice.between(low * 1000..=high * 1000))
    }

    pub fn at(&mut self, arrival: &Arrival) -> Fate {
        let (after, side) = match arrival.side {
            Side::Sleep(duration) => (duration, Side::After),
            side => (self.half_a_call(), side),
        };
        let fate = |then, fault| Fate { after, then, fault };
        if arrival.call.port == Port::Sleep {
            return match self.strikes(Fault::CrashAfter) {
                true => fate(Then::Crash, Some(Fault::CrashAfter)),
                false => fate(Then::Open(Verdict::Pass), None),
            };
        }
        let number = self.arrivals;
        self.arrivals += 1;
        if let Some((gate, then)) = self.strike
            && gate == number
        {
            let fault = match (then, side) {
                (Then::CrashInFlight(_), _) => Fault::CrashInFlight,
                (_, Side::Before) => Fault::CrashBefore,
                _ => Fault::CrashAfter,
            };
            self.note(fault);
            return fate(then, Some(fault));
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
        let Some(fault) = here.iter().copied().find(|fault| self.strikes(*fault)) else {
            return fate(Then::Open(Verdict::Pass), None);
        };
        let then = match fault {
            Fault::CrashInFlight => Then::CrashInFlight(self.seconds(0..=90)),
            Fault::LateRequest => Then::Open(Verdict::Late(self.seconds(0..=90))),
            Fault::NoAnswerBefore | Fault::NoAnswerAfter => Then::Open(Verdict::NoAnswer),
            Fault::Pause => Then::Pause(self.seconds(5..=58)),
            _ => Then::Crash,
        };
        // Who gets no answer has waited for it.
        let after = match then {
            Then::Open(Verdict::NoAnswer | Verdict::Late(_)) => self.seconds(0..=6),
            _ => after,
        };
        Fate {
            after,
            then,
            fault: Some(fault),
        }
    }
}
