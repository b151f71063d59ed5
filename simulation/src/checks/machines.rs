//! Instances and machines: what leaves, and whether it may.

use std::collections::{BTreeMap, BTreeSet};

use shared::ids::InstanceId;
use shared::model::{InstanceStatus, MachineState};
use testing::{InstanceRow, SlotStatus, Tables};

use super::{Check, Scene, Violation};
use crate::facts::Fact;

#[derive(Clone, Debug)]
struct Before {
    row: InstanceRow,
    occupied: bool,
}

#[derive(Debug, Default)]
pub(super) struct Machines {
    before: BTreeMap<InstanceId, Before>,
    /// Ever seen as `TERMINATING`.
    committed: BTreeSet<InstanceId>,
}

impl Machines {
    pub(super) fn fact(&self, fact: &Fact, found: &mut Vec<Violation>) {
        let Fact::AskedToTerminate { ids, .. } = fact else {
            return;
        };
        for id in ids.iter().filter(|id| !self.committed.contains(*id)) {
            let text = format!("EC2 was asked to terminate {id}, which was never TERMINATING");
            found.push(Violation::new(Check::TerminateOnlyCommitted, text));
        }
    }

    pub(super) fn state(&mut self, scene: &Scene<'_>, tables: &Tables, found: &mut Vec<Violation>) {
        for (id, before) in &self.before {
            match tables.instances.get(id) {
                Some(row) if row.status != before.row.status => {
                    moved(scene, tables, id, before, row, found);
                }
                Some(_) => {}
                None => removed(scene, id, before, found),
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
            match self.before.get_mut(id) {
                Some(before) if before.row.status == row.status => before.occupied = occupied,
                _ => {
                    let row = row.clone();
                    self.before.insert(id.clone(), Before { row, occupied });
                }
            }
        }
    }
}

fn moved(
    scene: &Scene<'_>,
    tables: &Tables,
    id: &InstanceId,
    before: &Before,
    after: &InstanceRow,
    found: &mut Vec<Violation>,
) {
    let (from, to) = (before.row.status, after.status);
    let mut violated = |check, why: &str| {
        let text = format!("{id} went from {from} to {to}: {why}");
        found.push(Violation::new(check, text));
    };
    if to < from {
        violated(Check::StatesGoForward, "backwards");
    }
    if to == InstanceStatus::Draining && before.occupied && after.notice.is_none() {
        violated(Check::OccupiedNotDrained, "a user is there");
    }
    if to != InstanceStatus::Terminating || !is_running(scene, id, &before.row) {
        return;
    }
    let silence = scene.agents.silence(id, scene.world.now());
    let timeouts = tables.regions[&before.row.region].settings.timeouts;
    if before.occupied && silence.is_some_and(|silence| silence < timeouts.lost) {
        violated(
            Check::OccupiedNotTerminated,
            "a user is there, and its agent lives",
        );
    }
    let in_service = from == InstanceStatus::Active;
    if in_service && silence.is_some_and(|silence| silence < timeouts.heartbeat) {
        violated(
            Check::NothingLivingRemoved,
            "in service, and its agent is heard",
        );
    }
}

/// A row goes only when its machine does.
fn removed(scene: &Scene<'_>, id: &InstanceId, before: &Before, found: &mut Vec<Violation>) {
    if is_running(scene, id, &before.row) {
        let text = format!("the row of {id} was removed, and its machine runs");
        found.push(Violation::new(Check::NothingLivingRemoved, text));
    }
    if before.row.status != InstanceStatus::Terminating {
        let text = format!("the row of {id} was removed while {}", before.row.status);
        found.push(Violation::new(Check::StatesGoForward, text));
    }
}

/// In truth, whatever a listing says.
fn is_running(scene: &Scene<'_>, id: &InstanceId, row: &InstanceRow) -> bool {
    let host = scene.world.host(&row.region);
    let state = host.state();
    let state = state
        .ec2
        .machines
        .get(id)
        .and_then(|m| m.state_at(scene.world.now()));
    matches!(state, Some(MachineState::Pending | MachineState::Running))
}
