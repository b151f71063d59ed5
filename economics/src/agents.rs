//! Machines with their host agents, and what their slots were from their launch to their end.

use std::collections::HashMap;

use shared::ids::{InstanceId, LaunchId};

use crate::Millis;
use crate::clairvoyant::{Session, overlap};
use crate::outcome::Time;

/// Agents take turns with their heartbeats, so that not all are sent at once: each has one of these.
pub const BEAT_TURNS: usize = 15;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Booting,
    Registered,
    /// Terminated, which ends its cost.
    Ended,
}

#[derive(Debug)]
pub struct Machine {
    pub id: InstanceId,
    pub launch: LaunchId,
    pub state: State,
    capacity: u32,
    occupied: u32,
    /// What it has been since then is not counted yet.
    since: Millis,
}

/// All machines of a run, by the order of their launches.
#[derive(Debug)]
pub struct Machines {
    all: Vec<Machine>,
    by_id: HashMap<InstanceId, usize>,
    /// Those that have not ended, by the turn in which they send heartbeats.
    beating: Vec<Vec<usize>>,
    measured: Session,
    pub time: Time,
    pub launches: u64,
}

impl Machines {
    pub fn new(measured: Session) -> Self {
        Self {
            all: vec![],
            by_id: HashMap::new(),
            beating: vec![vec![]; BEAT_TURNS],
            measured,
            time: Time::default(),
            launches: 0,
        }
    }

    pub fn get(&self, index: usize) -> &Machine {
        &self.all[index]
    }

    pub fn find(&self, id: &InstanceId) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    pub fn launched(&mut self, id: InstanceId, launch: LaunchId, slots: u32, now: Millis) -> usize {
        let index = self.all.len();
        self.by_id.insert(id.clone(), index);
        self.beating[index % BEAT_TURNS].push(index);
        self.all.push(Machine {
            id,
            launch,
            state: State::Booting,
            capacity: slots,
            occupied: 0,
            since: now,
        });
        if (self.measured.begin..self.measured.end).contains(&now) {
            self.launches += 1;
        }
        index
    }

    pub fn registered(&mut self, index: usize, now: Millis) {
        self.change(index, now, |machine| machine.state = State::Registered);
    }

    pub fn occupied(&mut self, index: usize, now: Millis) {
        self.change(index, now, |machine| machine.occupied += 1);
    }

    pub fn vacated(&mut self, index: usize, now: Millis) {
        self.change(index, now, |machine| machine.occupied -= 1);
    }

    /// The machine is terminated. Whoever does it first ends its cost.
    pub fn ended(&mut self, index: usize, now: Millis) {
        if self.all[index].state == State::Ended {
            return;
        }
        self.change(index, now, |machine| machine.state = State::Ended);
        self.by_id.remove(&self.all[index].id);
        self.beating[index % BEAT_TURNS].retain(|other| *other != index);
    }

    /// Those whose agents send a heartbeat in this turn.
    pub fn beating(&self, turn: usize) -> Vec<usize> {
        self.beating[turn % BEAT_TURNS].clone()
    }

    /// Counts what is not counted yet, at the end of a run.
    pub fn count_all(&mut self, now: Millis) {
        for index in 0..self.all.len() {
            self.change(index, now, |_| {});
        }
    }

    /// Counts what the machine was until now, and changes it.
    fn change(&mut self, index: usize, now: Millis, change: impl FnOnce(&mut Machine)) {
        let machine = &mut self.all[index];
        let since = Session {
            begin: machine.since,
            end: now,
        };
        machine.since = now;
        let passed = overlap(since, self.measured);
        let (slots, occupied) = (
            Millis::from(machine.capacity),
            Millis::from(machine.occupied),
        );
        match machine.state {
            State::Booting => self.time.booting += slots * passed,
            State::Registered if occupied == 0 => self.time.empty += slots * passed,
            State::Registered => {
                self.time.used += occupied * passed;
                self.time.fragmented += (slots - occupied) * passed;
            }
            State::Ended => {}
        }
        change(machine);
    }
}
