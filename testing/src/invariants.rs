//! What always holds, as pure functions of plain views. Each returns what is broken as texts, which
//! are empty when the rule holds.
//!
//! Two kinds of tests share them: tests of a deployed stack, which read EC2's ledger, PostgreSQL and
//! DynamoDB from outside, and the simulation, which reads the fakes. The views therefore hold what
//! both can see, as plain values and not as types of either.
//!
//! - [`launches`]: one launch for each intent;
//! - [`live`]: the maximum of a region;
//! - [`slots`]: users and their slots;
//! - [`line`]: users who wait for one;
//! - [`removals`]: what is drained, terminated and deleted;
//! - [`fences`]: versions of a region's lock;
//! - [`rest`]: a region in which nothing is left to do.
//!
//! The simulation uses the rules of one moment: those of a launch, of held slots, of a line, of a
//! drain and a termination under users, and of a region at rest. Rules of a whole history ([`live`], [`fences`],
//! [`removals::violations`], [`slots::history_violations`]) are only for deployed stacks, since the
//! simulation would read its history again after each of its thousands of steps a second: it
//! compares each step with the one before. Its rules of the lock, wake marks, images, decisions and
//! the maximum need what is only visible inside a process, and are in `simulation/src/checks`.

pub mod fences;
pub mod launches;
pub mod line;
pub mod live;
pub mod removals;
pub mod rest;
pub mod slots;

/// The life of one machine, as EC2 knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineHistory {
    pub id: String,
    pub region: String,
    /// The client token of its launch.
    pub token: String,
    /// The launch in its tag.
    pub launch: String,
    /// The same for all machines of one launch.
    pub reservation: String,
    /// Each state with its time in milliseconds, in order.
    pub states: Vec<(String, i64)>,
    pub ended_by: Option<String>,
    pub agent: Agent,
}

/// The host agent's process on a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Agent {
    #[default]
    NeverStarted,
    Running,
    /// With the time in milliseconds.
    Ended(i64),
}

impl MachineHistory {
    /// The time at which it entered a state, in milliseconds.
    pub fn entered(&self, state: &str) -> Option<i64> {
        let entered = self.states.iter().find(|(entered, _)| entered == state);
        entered.map(|(_, at_ms)| *at_ms)
    }
}

#[cfg(test)]
mod examples {
    use super::{Agent, MachineHistory};

    /// A machine that runs since it was launched under a token.
    pub(super) fn machine(id: &str, token: &str, at_ms: i64) -> MachineHistory {
        MachineHistory {
            id: id.to_owned(),
            region: "r".to_owned(),
            token: token.to_owned(),
            launch: format!("launch-{token}"),
            reservation: format!("reservation-{token}"),
            states: ["pending", "running"]
                .map(|state| (state.to_owned(), at_ms))
                .into(),
            ended_by: None,
            agent: Agent::Running,
        }
    }

    /// The same machine, ended at a time.
    pub(super) fn ended(mut machine: MachineHistory, at_ms: i64, by: &str) -> MachineHistory {
        machine.ended_by = Some(by.to_owned());
        let ends = ["shutting-down", "terminated"].map(|state| (state.to_owned(), at_ms));
        machine.states.extend(ends);
        machine
    }
}
