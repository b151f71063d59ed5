//! Nothing is drained, terminated or deleted that should not be.

use super::slots::SlotChange;
use super::{Agent, MachineHistory};

/// A status of an instance that was committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceChange {
    /// In microseconds.
    pub at_us: i64,
    pub id: String,
    /// `None` once the row is deleted.
    pub status: Option<String>,
    pub notice: Option<String>,
    pub drain_cause: Option<String>,
    /// The number of occupied slots.
    pub occupied: i64,
    /// The time since its agent's last heartbeat, in milliseconds; `None` if there was none.
    pub silent_ms: Option<i64>,
}

/// A request to EC2 to terminate a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TerminationRequest {
    /// In milliseconds.
    pub at_ms: i64,
    pub id: String,
}

/// What happened to instances, their machines and their slots, each in order.
#[derive(Clone, Copy, Debug)]
pub struct RemovalHistory<'h> {
    pub requests: &'h [TerminationRequest],
    pub machines: &'h [MachineHistory],
    pub instances: &'h [InstanceChange],
    pub slots: &'h [SlotChange],
    /// The silence after which an agent is lost, in milliseconds.
    pub lost_ms: i64,
}

/// Whether an instance was drained by choice with a user on it. Users stay on an instance that EC2 is
/// about to take, and on one that is drained for a cause that leaves them where they are.
pub fn is_drained_under_users(occupied: bool, has_notice: bool, users_stay: bool) -> bool {
    occupied && !has_notice && !users_stay
}

/// Whether an instance was committed to its termination while a user was on it, its machine ran, and it
/// was not given up: its agent was neither lost nor past the deadline of its drain.
pub fn is_terminated_under_users(occupied: bool, is_given_up: bool, machine_runs: bool) -> bool {
    occupied && !is_given_up && machine_runs
}

/// All rules of removals over a whole history.
pub fn violations(history: &RemovalHistory<'_>) -> Vec<String> {
    let mut found = Vec::new();
    history.requested_before_commit(&mut found);
    history.committed_under_users(&mut found);
    history.ended_under_users(&mut found);
    history.deleted_too_early(&mut found);
    found
}

impl RemovalHistory<'_> {
    /// EC2 is requested to terminate only what is committed as `TERMINATING`.
    fn requested_before_commit(&self, found: &mut Vec<String>) {
        for TerminationRequest { at_ms, id } in self.requests {
            let committed = self.first(id, "TERMINATING").map(|change| change.at_us);
            if committed.is_none_or(|at| at > end_of(*at_ms)) {
                found.push(format!(
                    "{id} was requested to terminate at {at_ms}, committed at {committed:?}"
                ));
            }
        }
    }

    fn committed_under_users(&self, found: &mut Vec<String>) {
        for change in self.instances {
            let occupied = change.occupied > 0;
            let is_wrong = match change.status.as_deref() {
                Some("DRAINING") => {
                    let is_suspect = change.drain_cause.as_deref() == Some("SUSPECT");
                    is_drained_under_users(occupied, change.notice.is_some(), is_suspect)
                }
                Some("TERMINATING") => {
                    let left = self.entered(&change.id, "shutting-down");
                    let runs = left.is_none_or(|at_ms| at_ms * 1000 > change.at_us);
                    is_terminated_under_users(occupied, self.is_lost(change), runs)
                }
                _ => false,
            };
            if is_wrong {
                found.push(format!("with users on it: {change:?}"));
            }
        }
    }

    /// No machine ends, by whatever cause, while a user is on it and its agent lives.
    fn ended_under_users(&self, found: &mut Vec<String>) {
        for machine in self.machines {
            let Some(at_ms) = machine.entered("shutting-down") else {
                continue;
            };
            let agent_lived = match machine.agent {
                Agent::NeverStarted => false,
                Agent::Running => true,
                Agent::Ended(end) => end >= at_ms,
            };
            // An agent that shuts its machine down has ended a moment before.
            let lived = machine.ended_by.as_deref() == Some("instance") || agent_lived;
            let committed = self.first(&machine.id, "TERMINATING");
            let lost = committed.is_some_and(|change| self.is_lost(change));
            if lived && !lost {
                let users = self.users_at(&machine.id, at_ms);
                if !users.is_empty() {
                    found.push(format!("{} ended at {at_ms} under {users:?}", machine.id));
                }
            }
        }
    }

    /// A row is deleted only once EC2 has terminated its machine.
    fn deleted_too_early(&self, found: &mut Vec<String>) {
        let deleted = self
            .instances
            .iter()
            .filter(|change| change.status.is_none());
        for change in deleted {
            let terminated = self.entered(&change.id, "terminated");
            if terminated.is_none_or(|at_ms| at_ms * 1000 > change.at_us) {
                found.push(format!(
                    "the row of {} was deleted at {}, its machine terminated at {terminated:?}",
                    change.id, change.at_us
                ));
            }
        }
    }

    /// The first commit of an instance in this status.
    fn first(&self, id: &str, status: &str) -> Option<&InstanceChange> {
        let is =
            |change: &&InstanceChange| change.id == id && change.status.as_deref() == Some(status);
        self.instances.iter().find(is)
    }

    fn entered(&self, id: &str, state: &str) -> Option<i64> {
        let machine = self.machines.iter().find(|machine| machine.id == id);
        machine.and_then(|machine| machine.entered(state))
    }

    fn is_lost(&self, change: &InstanceChange) -> bool {
        change
            .silent_ms
            .is_some_and(|silent| silent >= self.lost_ms)
    }

    /// The users that had a slot of the instance during the whole millisecond.
    fn users_at(&self, instance: &str, at_ms: i64) -> Vec<&str> {
        let changes = || {
            self.slots
                .iter()
                .filter(|change| change.instance_id == instance)
        };
        let taken = changes().filter(|change| change.is_occupied() && change.at_us < at_ms * 1000);
        let mut users = Vec::new();
        for change in taken {
            let later = |other: &&SlotChange| {
                other.id == change.id && !other.is_occupied() && other.at_us >= change.at_us
            };
            let freed = changes().find(later).map(|it| it.at_us);
            if freed.is_none_or(|at| at > end_of(at_ms)) {
                users.extend(change.user.as_deref());
            }
        }
        users.dedup();
        users
    }
}

/// The last moment of a millisecond, in microseconds: the times of machines are no finer.
fn end_of(ms: i64) -> i64 {
    ms * 1000 + 999
}

#[cfg(test)]
mod tests {
    use super::super::examples::{ended, machine};
    use super::*;

    const LOST_MS: i64 = 24_000;

    struct History {
        requests: Vec<TerminationRequest>,
        machines: Vec<MachineHistory>,
        instances: Vec<InstanceChange>,
        slots: Vec<SlotChange>,
    }

    impl History {
        /// A machine that is drained, committed and terminated in order.
        fn in_order() -> Self {
            let deleted = InstanceChange {
                status: None,
                ..becomes("", 5_000)
            };
            Self {
                requests: vec![terminate("i-1", 4_000)],
                machines: vec![ended(machine("i-1", "t", 1_000), 4_001, "user")],
                instances: vec![
                    becomes("DRAINING", 2_000),
                    becomes("TERMINATING", 3_000),
                    deleted,
                ],
                slots: vec![
                    slot(None, Some("ann"), 1_500),
                    slot(Some("ann"), None, 1_900),
                ],
            }
        }

        fn violations(&self) -> Vec<String> {
            violations(&RemovalHistory {
                requests: &self.requests,
                machines: &self.machines,
                instances: &self.instances,
                slots: &self.slots,
                lost_ms: LOST_MS,
            })
        }
    }

    fn terminate(id: &str, at_ms: i64) -> TerminationRequest {
        let id = id.to_owned();
        TerminationRequest { at_ms, id }
    }

    fn becomes(status: &str, at_ms: i64) -> InstanceChange {
        InstanceChange {
            at_us: at_ms * 1000,
            id: "i-1".to_owned(),
            status: Some(status.to_owned()),
            silent_ms: Some(100),
            ..InstanceChange::default()
        }
    }

    fn slot(before: Option<&str>, after: Option<&str>, at_ms: i64) -> SlotChange {
        SlotChange {
            at_us: at_ms * 1000,
            id: "s".to_owned(),
            instance_id: "i-1".to_owned(),
            user_before: before.map(str::to_owned),
            user: after.map(str::to_owned),
            ..SlotChange::default()
        }
    }

    #[test]
    fn removal_in_order_is_accepted() {
        assert_eq!(History::in_order().violations(), [""; 0]);
    }

    #[test]
    fn request_before_the_commit_is_found() {
        let mut history = History::in_order();
        history.requests[0].at_ms = 2_999;
        assert_eq!(history.violations().len(), 1);
        history.requests[0] = terminate("i-2", 4_000);
        assert_eq!(history.violations().len(), 1, "never committed");
    }

    #[test]
    fn removal_under_a_user_is_found() {
        let mut history = History::in_order();
        history.slots[1].at_us = 4_500_000;
        assert_eq!(history.violations().len(), 1, "when it ended");
        let mut history = History::in_order();
        history.instances[0].occupied = 1;
        assert_eq!(history.violations().len(), 1, "when it was drained");
        let mut history = History::in_order();
        history.instances[1].occupied = 1;
        assert_eq!(history.violations().len(), 1, "when it was committed");
    }

    #[test]
    fn removal_of_a_lost_instance_under_a_user_is_accepted() {
        let mut history = History::in_order();
        history.slots[1].at_us = 4_500_000;
        history.instances[1].occupied = 1;
        history.instances[1].silent_ms = Some(LOST_MS);
        assert_eq!(history.violations(), [""; 0]);
    }

    #[test]
    fn row_deleted_before_its_machine_is_found() {
        let mut history = History::in_order();
        history.instances[2].at_us = 4_000_000;
        assert_eq!(history.violations().len(), 1);
    }
}
