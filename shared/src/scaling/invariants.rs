//! What every plan must satisfy, whichever algorithm made it.
//!
//! The pass refuses to act on a plan that breaks one of these rules: a faulty algorithm then
//! costs a report, not a user's session. The property tests use the same rules.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use thiserror::Error;

use super::plan::{Action, LaunchOption, Plan};
use super::snapshot::Snapshot;
use crate::ids::{AddressId, InstanceId};
use crate::model::TerminateIf;
use crate::model::{
    AddressListing, Carrier, ImageState, InstanceStatus, Machine, MachineState, ReplicaAnswer,
};

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    #[error("drains {instance}, where {occupied} slots are occupied")]
    DrainsOccupied { instance: InstanceId, occupied: u32 },
    #[error("drains {instance}, which is {status}")]
    DrainsWrongState {
        instance: InstanceId,
        status: InstanceStatus,
    },
    #[error("drains {0}, which is being warmed for an upgrade, and no user needs its room")]
    DrainsProtected(InstanceId),
    #[error("terminates {0} under a living host agent with occupied slots")]
    TerminatesOccupied(InstanceId),
    #[error("terminates {0} as gone, but EC2 lists it as alive")]
    TerminatesLiving(InstanceId),
    #[error("removes the row of {0}, which EC2 still has")]
    RemovesLiving(InstanceId),
    #[error("terminates machine {0} as an orphan, but it has a row or an open launch")]
    TerminatesKnown(InstanceId),
    #[error("names {0}, which is not in the snapshot")]
    NamesUnknown(InstanceId),
    #[error("launches {count} with {live} live and a maximum of {max}")]
    ExceedsMaximum { count: u32, live: u32, max: u32 },
    #[error("deletes replica {0}, which neither says that it is terminated nor is superfluous")]
    DeletesReplicaInUse(InstanceId),
    #[error("moves address {0}, which is not in the pool, or on something that is no replica")]
    MovesForeignAddress(IpAddr),
    #[error("takes address {ip} from {from}, which is healthy and stays")]
    TakesAddress { ip: IpAddr, from: InstanceId },
    #[error("gives address {ip} to {to}, which is not healthy or does not stay")]
    GivesAddressTo { ip: IpAddr, to: InstanceId },
    #[error("gives address {ip} to {to}, which has another")]
    GivesSecondAddress { ip: IpAddr, to: InstanceId },
    #[error("acts on a paused region")]
    ActsWhilePaused,
    #[error("ends {0} twice")]
    EndsTwice(InstanceId),
}

/// All rules that the plan breaks; none for a good plan.
///
/// `may_delete` says which replicas the algorithm may delete.
pub(super) fn violations(
    snapshot: &Snapshot,
    plan: &Plan,
    may_delete: &dyn Fn(&InstanceId) -> bool,
    now: Timestamp,
) -> Vec<Violation> {
    let mut found = Vec::new();
    if snapshot.settings.paused && !plan.is_empty() {
        found.push(Violation::ActsWhilePaused);
    }
    let mut ended = BTreeSet::new();
    let (mut removed, mut launched) = (0, 0);
    for step in &plan.steps {
        match &step.action {
            Action::Drain { instance } => {
                check_drain(snapshot, instance, now, &mut found);
                if !ended.insert(instance) {
                    found.push(Violation::EndsTwice(instance.clone()));
                }
            }
            Action::Terminate {
                instance,
                condition,
                ..
            } => {
                check_terminate(snapshot, instance, *condition, now, &mut found);
                if !ended.insert(instance) {
                    found.push(Violation::EndsTwice(instance.clone()));
                }
            }
            Action::TerminateOrphan { orphan } => {
                let open = snapshot.has_open_intent(&orphan.launch_id);
                if open || snapshot.instances.contains_key(&orphan.id) {
                    found.push(Violation::TerminatesKnown(orphan.id.clone()));
                }
            }
            Action::Remove { instance } => {
                removed += 1;
                let gone = match snapshot.machines.get(instance) {
                    Some(machine) => machine.state.is_going(),
                    None => snapshot.unknown_to_ec2.contains(instance),
                };
                if !gone {
                    found.push(Violation::RemovesLiving(instance.clone()));
                }
            }
            Action::Launch { options, .. } => {
                launched += LaunchOption::most(options);
            }
            Action::ResumeLaunch { .. }
            | Action::NoteMissing { .. }
            | Action::NotePresent { .. }
            | Action::ReleaseUnclaimed { .. }
            | Action::RememberUnknown { .. }
            | Action::MoveAddress { .. }
            | Action::MoveImage { .. } => {}
            Action::DeleteReplica { instance } => {
                if !may_delete(instance) {
                    found.push(Violation::DeletesReplicaInUse(instance.clone()));
                }
                if !ended.insert(instance) {
                    found.push(Violation::EndsTwice(instance.clone()));
                }
            }
        }
    }
    check_addresses(snapshot, plan, &mut found);
    let (live, max) = (
        snapshot.live().saturating_sub(removed),
        snapshot.max_instances(),
    );
    if launched > 0 && live.saturating_add(launched) > max {
        found.push(Violation::ExceedsMaximum {
            count: launched,
            live,
            max,
        });
    }
    found
}

fn check_addresses(snapshot: &Snapshot, plan: &Plan, found: &mut Vec<Violation>) {
    let AddressListing::Listed(listed) = &snapshot.addresses else {
        return;
    };
    let deleted = plan.deleted_replicas();
    let stays = |id: &InstanceId| {
        let runs = |machine: &Machine| machine.state == MachineState::Running;
        let answer = snapshot.answers.get(id);
        matches!(answer, Some(ReplicaAnswer::Healthy { .. }))
            && snapshot.machines.get(id).is_some_and(runs)
            && !snapshot.instances.contains_key(id)
            && !deleted.contains(id)
    };
    let mut given = BTreeSet::new();
    let mut moved: BTreeSet<&AddressId> = BTreeSet::new();
    for step in &plan.steps {
        let Action::MoveAddress {
            address, ip, to, ..
        } = &step.action
        else {
            continue;
        };
        let known = listed.iter().find(|it| it.id == *address && it.in_pool);
        let carrier = known.map(|known| &known.carrier);
        let is_ours = match carrier {
            None | Some(Carrier::Other(_)) => false,
            Some(Carrier::Nobody) => true,
            Some(Carrier::Instance(id)) => {
                // Or by a list from before a move of ours: a replica that is gone by now.
                let moved = snapshot.address_moves.get(address);
                snapshot.machines.contains_key(id)
                    || moved.is_some_and(|moved| moved.before.contains(&Some(id.clone())))
            }
        };
        if !is_ours || !moved.insert(address) {
            found.push(Violation::MovesForeignAddress(*ip));
        }
        if let Some(from) = carrier.and_then(Carrier::instance)
            && stays(from)
        {
            let (ip, from) = (*ip, from.clone());
            found.push(Violation::TakesAddress { ip, from });
        }
        if !stays(to) {
            let (ip, to) = (*ip, to.clone());
            found.push(Violation::GivesAddressTo { ip, to });
        }
        let has_another = listed
            .iter()
            .any(|other| other.id != *address && other.carrier.instance() == Some(to));
        if !given.insert(to) || has_another {
            let (ip, to) = (*ip, to.clone());
            found.push(Violation::GivesSecondAddress { ip, to });
        }
    }
}

fn check_drain(snapshot: &Snapshot, id: &InstanceId, now: Timestamp, found: &mut Vec<Violation>) {
    let Some(instance) = snapshot.instances.get(id) else {
        return found.push(Violation::NamesUnknown(id.clone()));
    };
    if !instance.is_empty() && instance.notice.is_none() {
        found.push(Violation::DrainsOccupied {
            instance: id.clone(),
            occupied: instance.slots.occupied,
        });
    }
    if !instance.status.is_in_service() {
        found.push(Violation::DrainsWrongState {
            instance: id.clone(),
            status: instance.status,
        });
    }
    let warming = snapshot.image_state(instance) == Some(ImageState::Warming);
    // Only users come before an upgrade.
    if warming && instance.notice.is_none() && !snapshot.is_short_of_slots(now) {
        found.push(Violation::DrainsProtected(id.clone()));
    }
}

fn check_terminate(
    snapshot: &Snapshot,
    id: &InstanceId,
    condition: TerminateIf,
    now: Timestamp,
    found: &mut Vec<Violation>,
) {
    let Some(instance) = snapshot.instances.get(id) else {
        return found.push(Violation::NamesUnknown(id.clone()));
    };
    let alive = snapshot.silence(instance, now) < snapshot.settings.timeouts.lost;
    let machine = snapshot.machines.get(id);
    match condition {
        TerminateIf::Empty | TerminateIf::Lost
            if !instance.is_empty() && alive && instance.status != InstanceStatus::Terminating =>
        {
            found.push(Violation::TerminatesOccupied(id.clone()));
        }
        TerminateIf::Gone | TerminateIf::Missing
            if machine.is_some_and(|machine| !machine.state.is_down()) =>
        {
            found.push(Violation::TerminatesLiving(id.clone()));
        }
        _ => {}
    }
}
