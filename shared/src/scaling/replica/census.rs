//! The replicas of a region: which there are, how they count, and how a plan shows them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::ids::InstanceId;
use crate::model::{Machine, MachineState, ReplicaAnswer, ReplicaStatus};
use crate::scaling::addresses::report_addresses;
use crate::scaling::plan::{Action, Counts, Plan, ReplicaView};
use crate::scaling::snapshot::Snapshot;

/// Every replica that EC2 lists, with its status. A machine with a row is not a replica but an
/// instance, from before the region had this algorithm: an operator has to end it.
pub(super) struct Census<'s>(BTreeMap<&'s InstanceId, (&'s Machine, ReplicaStatus)>);

impl<'s> Census<'s> {
    pub(super) fn of(snapshot: &'s Snapshot, now: Timestamp) -> Self {
        let machines = snapshot.machines.values();
        let has_row = |machine: &&Machine| snapshot.instances.contains_key(&machine.id);
        Self(
            machines
                .filter(|machine| !has_row(machine))
                .map(|machine| (&machine.id, (machine, status(snapshot, machine, now))))
                .collect(),
        )
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'s Machine, &ReplicaStatus)> {
        self.0.values().map(|(machine, status)| (*machine, status))
    }

    /// The region's totals: `free` is the reported capacity, `starting` that of replicas that are
    /// being created.
    pub(super) fn counts(&self, snapshot: &Snapshot) -> Counts {
        let settings = &snapshot.settings;
        let free = self
            .iter()
            .map(|(_, status)| match status {
                ReplicaStatus::Healthy { capacity } => *capacity,
                _ => 0,
            })
            .fold(0, u32::saturating_add);
        Counts {
            target: if settings.enabled {
                settings.replicas.min_available
            } else {
                0
            },
            waiting: 0,
            free,
            starting: settings
                .replicas
                .capacity
                .saturating_mul(self.creating_count(snapshot)),
            occupied: 0,
            live: snapshot.live(),
            max: snapshot.max_instances(),
        }
    }

    /// How many replicas are being created: those that are listed as such, and those that open
    /// intents requested and EC2 does not list yet, because listings lag.
    fn creating_count(&self, snapshot: &Snapshot) -> u32 {
        let listed = self
            .iter()
            .filter(|(_, status)| **status == ReplicaStatus::Creating)
            .count();
        let not_listed = snapshot.open_intents.iter().map(|intent| {
            let listed = self
                .iter()
                .filter(|(machine, _)| machine.launch_id.as_ref() == Some(&intent.launch_id));
            let listed = u32::try_from(listed.count()).unwrap_or(u32::MAX);
            intent.request.count.saturating_sub(listed)
        });
        u32::try_from(listed)
            .unwrap_or(u32::MAX)
            .saturating_add(not_listed.sum())
    }

    /// Each replica with the plan's decision about it, and the reason.
    pub(super) fn views(&self, snapshot: &Snapshot, plan: &Plan) -> Vec<ReplicaView> {
        let deleted: BTreeMap<_, _> = plan
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::DeleteReplica { instance } => Some((instance, step.reason.to_string())),
                _ => None,
            })
            .collect();
        self.iter()
            .map(|(machine, status)| ReplicaView {
                instance: machine.id.clone(),
                status: status.clone(),
                decided: match deleted.get(&machine.id) {
                    Some(reason) => format!("delete: {reason}"),
                    None => decision_to_keep(snapshot, status),
                },
                address: report_addresses(snapshot, machine, status, plan),
            })
            .collect()
    }
}

fn status(snapshot: &Snapshot, machine: &Machine, now: Timestamp) -> ReplicaStatus {
    let boot = snapshot.settings.replicas.boot;
    let is_booting = || boot.is_some_and(|boot| now.duration_since(machine.launched_at) < boot);
    match machine.state {
        MachineState::ShuttingDown | MachineState::Terminated => ReplicaStatus::Deleting,
        MachineState::Pending => ReplicaStatus::Creating,
        state @ (MachineState::Stopping | MachineState::Stopped) => {
            ReplicaStatus::InError { state }
        }
        MachineState::Running if machine.address.is_none() => ReplicaStatus::Creating,
        MachineState::Running => match snapshot.answers.get(&machine.id) {
            Some(ReplicaAnswer::Healthy { capacity }) => ReplicaStatus::Healthy {
                capacity: *capacity,
            },
            Some(ReplicaAnswer::Terminated) => ReplicaStatus::Terminated,
            // Its program may not have started yet.
            Some(ReplicaAnswer::Unknown { .. }) if is_booting() => ReplicaStatus::Creating,
            Some(ReplicaAnswer::Unknown { why }) => ReplicaStatus::Unknown { why: why.clone() },
            None => ReplicaStatus::Unknown {
                why: "its status was not requested".to_owned(),
            },
        },
    }
}

fn decision_to_keep(snapshot: &Snapshot, status: &ReplicaStatus) -> String {
    match status {
        ReplicaStatus::Creating => format!(
            "kept: counts with {} (REPLICA_CAPACITY)",
            snapshot.settings.replicas.capacity
        ),
        ReplicaStatus::Healthy { capacity } => format!("kept: counts with {capacity}"),
        ReplicaStatus::Unknown { .. } => "kept: neither deleted nor counted".to_owned(),
        ReplicaStatus::Deleting => {
            "nothing: EC2 deletes it already, and it does not count".to_owned()
        }
        ReplicaStatus::Terminated | ReplicaStatus::InError { .. } => {
            "kept: the region is paused".to_owned()
        }
    }
}
