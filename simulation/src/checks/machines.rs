//! Instances and machines: which of them may be drained, terminated and removed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use shared::ids::InstanceId;
use shared::model::{DrainCause, InstanceStatus, MachineState};
use testing::invariants::removals::{is_drained_under_users, is_terminated_under_users};
use testing::{InstanceRow, SlotStatus, Tables};

use super::context::StepContext;
use super::rule::{Check, Violation};
use crate::effects::Effect;
use crate::endings;

#[derive(Clone, Debug)]
struct Before {
    row: InstanceRow,
    occupied: bool,
    /// Since when the deadline of its drain may end its sessions.
    may_end_from: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(super) struct Machines {
    before: BTreeMap<InstanceId, Before>,
    /// The instances that were ever `TERMINATING`.
    committed: BTreeSet<InstanceId>,
}

impl Machines {
    pub(super) fn check_effect(&self, effect: &Effect, found: &mut Vec<Violation>) {
        let Effect::TerminateRequested { ids, .. } = effect else {
            return;
        };
        for id in ids.iter().filter(|id| !self.committed.contains(*id)) {
            let text = format!("EC2 was asked to terminate {id}, which was never TERMINATING");
            found.push(Violation::new(Check::TerminateOnlyIfCommitted, text));
        }
    }

    pub(super) fn check_state(
        &mut self,
        context: &StepContext<'_>,
        tables: &Tables,
        found: &mut Vec<Violation>,
    ) {
        for (id, before) in &self.before {
            match tables.instances.get(id) {
                Some(row) if row.status != before.row.status => {
                    check_transition(context, tables, id, before, row, found);
                }
                Some(_) => {}
                None => check_removal(context, id, before, found),
            }
        }
        let mut occupied: BTreeSet<&InstanceId> = BTreeSet::new();
        for slot in tables.slots.values() {
            if slot.status != SlotStatus::Waiting {
                occupied.insert(&slot.instance_id);
            }
        }
        self.before
            .retain(|id, _| tables.instances.contains_key(id));
        for (id, row) in &tables.instances {
            if row.status == InstanceStatus::Terminating {
                self.committed.insert(id.clone());
            }
            let occupied = occupied.contains(id);
            let may_end_from = endings::may_end_from(tables, id);
            match self.before.get_mut(id) {
                Some(before) if before.row.status == row.status => {
                    before.occupied = occupied;
                    before.may_end_from = may_end_from;
                }
                _ => {
                    let before = Before {
                        row: row.clone(),
                        occupied,
                        may_end_from,
                    };
                    self.before.insert(id.clone(), before);
                }
            }
        }
    }
}

fn check_transition(
    context: &StepContext<'_>,
    tables: &Tables,
    id: &InstanceId,
    before: &Before,
    after: &InstanceRow,
    found: &mut Vec<Violation>,
) {
    let (from, to) = (before.row.status, after.status);
    let mut violated = |check, reason: &str| {
        let text = format!("{id} went from {from} to {to}: {reason}");
        found.push(Violation::new(check, text));
    };
    if to < from && !may_reopen(tables, id, &before.row) {
        violated(Check::StatesGoForward, "a step back");
    }
    if to == InstanceStatus::Draining
        && is_drained_under_users(
            before.occupied,
            after.notice.is_some(),
            users_stay(tables, after),
        )
    {
        violated(Check::OccupiedNotDrained, "it has a user");
    }
    if to != InstanceStatus::Terminating {
        return;
    }
    let runs = is_running(context, id, &before.row);
    let silence = context.agents.silence(id, context.world.now());
    let timeouts = tables.regions[&before.row.region].settings.timeouts;
    let is_lost = silence.is_none_or(|silence| silence >= timeouts.lost);
    let is_past_deadline = before
        .may_end_from
        .is_some_and(|from| from <= context.world.now());
    if is_terminated_under_users(before.occupied, is_lost || is_past_deadline, runs) {
        violated(
            Check::OccupiedNotTerminated,
            "it has a user and a living agent",
        );
    }
    let in_service = from == InstanceStatus::Active && runs;
    if in_service && silence.is_some_and(|silence| silence < timeouts.heartbeat) {
        violated(
            Check::NothingRunningRemoved,
            "it was ACTIVE, and its agent sends heartbeats",
        );
    }
}

/// Whether users stay on an instance that drains for this cause. Operators drain what they like.
fn users_stay(tables: &Tables, row: &InstanceRow) -> bool {
    match row.drain_cause {
        Some(DrainCause::Suspect | DrainCause::MaxAge | DrainCause::Operator) => true,
        Some(DrainCause::Image) => tables
            .regions
            .get(&row.region)
            .is_some_and(|region| region.settings.endings.drain_deadline.is_some()),
        _ => false,
    }
}

/// A drain for surplus may be taken back as long as the instance's agent does not know of it.
fn may_reopen(tables: &Tables, id: &InstanceId, before: &InstanceRow) -> bool {
    let beat_at = tables.heartbeats.get(id).map(|beat| beat.beat_at);
    let has_not_heard = beat_at < before.draining_since;
    before.status == InstanceStatus::Draining
        && before.drain_cause == Some(DrainCause::Surplus)
        && beat_at.is_some()
        && has_not_heard
}

/// Checks that a row is removed only after its machine.
fn check_removal(
    context: &StepContext<'_>,
    id: &InstanceId,
    before: &Before,
    found: &mut Vec<Violation>,
) {
    if is_running(context, id, &before.row) {
        let text = format!("the row of {id} was removed while its machine runs");
        found.push(Violation::new(Check::NothingRunningRemoved, text));
    }
    if before.row.status != InstanceStatus::Terminating {
        let text = format!(
            "the row of {id} was removed in the state {}",
            before.row.status
        );
        found.push(Violation::new(Check::StatesGoForward, text));
    }
}

/// The real state, whatever a listing says.
fn is_running(context: &StepContext<'_>, id: &InstanceId, row: &InstanceRow) -> bool {
    let host = context.world.host(&row.region);
    let state = host.state();
    let state = state
        .ec2
        .machines
        .get(id)
        .and_then(|m| m.state_at(context.world.now()));
    matches!(state, Some(MachineState::Pending | MachineState::Running))
}
