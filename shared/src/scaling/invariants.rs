//! The invariants of every plan, whichever algorithm made it.
//!
//! A plan that breaks one of them is not executed: a fault in an algorithm then costs a report, not
//! a user's session. The property tests use the same rules.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use thiserror::Error;

use super::algorithm::ScalingAlgorithm;
use super::plan::{Action, LaunchOption, Plan, Step};
use super::snapshot::Snapshot;
use super::{launch_options, replacing};
use crate::ids::{AddressId, InstanceId};
use crate::model::{
    AddressListing, Carrier, DrainCause, ExternalAddress, ImageState, Instance, InstanceStatus,
    Machine, MachineState, ReplicaAnswer, TerminateIf,
};

/// A rule that a plan breaks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    #[error("drains {instance}, where {occupied} slots are occupied")]
    DrainsOccupied { instance: InstanceId, occupied: u32 },
    #[error("drains {instance}, which is {status}")]
    DrainsWrongState {
        instance: InstanceId,
        status: InstanceStatus,
    },
    #[error("takes back the drain of {0}, which was not for surplus, or its agent knows of it")]
    ReopensWrongState(InstanceId),
    #[error("drains {0}, which warms for an upgrade, although no user needs its room")]
    DrainsProtected(InstanceId),
    #[error("drains {0} as a suspect, and another one, or no other instance serves its image")]
    DrainsTooManySuspects(InstanceId),
    #[error("terminates {0}, which has a living host agent and occupied slots")]
    TerminatesOccupied(InstanceId),
    #[error("terminates {0} as gone, but EC2 lists it as alive")]
    TerminatesLiving(InstanceId),
    #[error("deletes the row of {0}, which EC2 still has")]
    RemovesLiving(InstanceId),
    #[error("terminates machine {0} as an orphan, but it has a row or an open launch")]
    TerminatesKnown(InstanceId),
    #[error("drains or terminates {0}, which is not in the snapshot")]
    NamesUnknown(InstanceId),
    #[error("launches {count} instances, with {live} live of at most {max}")]
    ExceedsMaximum { count: u32, live: u32, max: u32 },
    #[error("launches {count} instances, with {left} left of `launches_per_hour`")]
    ExceedsHour { count: u32, left: u32 },
    #[error("deletes replica {0} without a reason that its algorithm accepts")]
    DeletesReplicaInUse(InstanceId),
    #[error("moves address {0}, which is not in the pool, is not on a replica, or is moved twice")]
    MovesForeignAddress(IpAddr),
    #[error("takes address {ip} from {from}, which is healthy and is not deleted")]
    TakesAddress { ip: IpAddr, from: InstanceId },
    #[error("gives address {ip} to {to}, which is not healthy or is deleted")]
    GivesAddressTo { ip: IpAddr, to: InstanceId },
    #[error("gives address {ip} to {to}, which has or gets another")]
    GivesSecondAddress { ip: IpAddr, to: InstanceId },
    #[error("drains {drained} instances for their age, more than {most}")]
    DrainsTooManyForAge { drained: usize, most: usize },
    #[error("has steps for a paused region")]
    ActsWhilePaused,
    #[error("ends {0} twice")]
    EndsTwice(InstanceId),
}

/// Every invariant that the plan breaks. Empty for a plan that may be executed.
pub fn violations(
    algorithm: &dyn ScalingAlgorithm,
    snapshot: &Snapshot,
    plan: &Plan,
    now: Timestamp,
) -> Vec<Violation> {
    let mut found = Vec::new();
    // A pause stops scaling. A token ends nonetheless, and its renewal changes no instance.
    let scales = |step: &Step| !matches!(step.action, Action::RenewToken { .. });
    if snapshot.settings.paused && plan.steps.iter().any(scales) {
        found.push(Violation::ActsWhilePaused);
    }
    let mut ended = BTreeSet::new();
    for step in &plan.steps {
        check_action(algorithm, snapshot, &step.action, now, &mut found);
        if let Some(instance) = ended_by(&step.action)
            && !ended.insert(instance)
        {
            found.push(Violation::EndsTwice(instance.clone()));
        }
    }
    check_suspects(snapshot, plan, &mut found);
    check_ages(snapshot, plan, &mut found);
    check_addresses(snapshot, plan, &mut found);
    check_warming(snapshot, plan, now, &mut found);
    check_maximum(snapshot, plan, now, &mut found);
    found
}

/// The instance that an action ends. An orphan and a deleted row are not ended here: an orphan has
/// no row yet, and a row may be deleted in the same plan that terminates its instance.
fn ended_by(action: &Action) -> Option<&InstanceId> {
    match action {
        Action::Drain { instance, .. }
        | Action::Terminate { instance, .. }
        | Action::DeleteReplica { instance } => Some(instance),
        _ => None,
    }
}

fn check_action(
    algorithm: &dyn ScalingAlgorithm,
    snapshot: &Snapshot,
    action: &Action,
    now: Timestamp,
    found: &mut Vec<Violation>,
) {
    match action {
        Action::Drain { instance, cause } => {
            check_drain(snapshot, instance, *cause, now, found);
        }
        Action::Reopen { instance } => {
            let known = snapshot.instances.get(instance);
            if !known.is_some_and(|known| snapshot.is_reopenable(known, now)) {
                found.push(Violation::ReopensWrongState(instance.clone()));
            }
        }
        Action::Terminate {
            instance,
            condition,
            ..
        } => check_terminate(snapshot, instance, *condition, now, found),
        Action::TerminateOrphan { orphan } => {
            let open = snapshot.has_open_intent(&orphan.launch_id);
            if open || snapshot.instances.contains_key(&orphan.id) {
                found.push(Violation::TerminatesKnown(orphan.id.clone()));
            }
        }
        Action::Remove { instance } => {
            let gone = match snapshot.machines.get(instance) {
                Some(machine) => machine.state.is_going(),
                None => snapshot.unknown_to_ec2.contains(instance),
            };
            if !gone {
                found.push(Violation::RemovesLiving(instance.clone()));
            }
        }
        Action::DeleteReplica { instance } => {
            if !algorithm.may_delete_replica(snapshot, instance, now) {
                found.push(Violation::DeletesReplicaInUse(instance.clone()));
            }
        }
        // Launches and addresses are checked together, in functions of their own.
        Action::Launch { .. }
        | Action::MoveAddress { .. }
        | Action::ResumeLaunch { .. }
        | Action::NoteMissing { .. }
        | Action::NotePresent { .. }
        | Action::NoteAddresses { .. }
        | Action::ReleaseUnclaimed { .. }
        | Action::MarkEnds { .. }
        | Action::RememberUnknown { .. }
        | Action::RestPool { .. }
        | Action::ForgetRest { .. }
        | Action::RenewToken { .. }
        | Action::MoveImage { .. } => {}
    }
}

/// All launches of the plan together. Rows that it deletes make room.
fn check_maximum(snapshot: &Snapshot, plan: &Plan, now: Timestamp, found: &mut Vec<Violation>) {
    let (mut removed, mut launched) = (0, 0);
    for step in &plan.steps {
        match &step.action {
            Action::Remove { .. } => removed += 1,
            Action::Launch { options, .. } => launched += LaunchOption::most(options),
            _ => {}
        }
    }
    if launched == 0 {
        return;
    }
    let live = snapshot.live().saturating_sub(removed);
    let max = snapshot.max_instances();
    if live.saturating_add(launched) > max {
        found.push(Violation::ExceedsMaximum {
            count: launched,
            live,
            max,
        });
    }
    let left = launch_options::left_of_hour(snapshot, now);
    if launched > left {
        found.push(Violation::ExceedsHour {
            count: launched,
            left,
        });
    }
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
        let is_movable = known.is_some_and(|known| may_move(snapshot, known));
        if !is_movable || !moved.insert(address) {
            found.push(Violation::MovesForeignAddress(*ip));
        }
        if let Some(from) = known.and_then(|known| known.carrier.instance())
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

/// Whether an address of the pool is free or on a replica.
fn may_move(snapshot: &Snapshot, address: &ExternalAddress) -> bool {
    match &address.carrier {
        Carrier::Other(_) => false,
        Carrier::Nobody => true,
        Carrier::Instance(id) => {
            // A list from before an earlier move may name a replica that is gone by now.
            let moved = snapshot.address_moves.get(&address.id);
            snapshot.machines.contains_key(id)
                || moved.is_some_and(|moved| moved.before.contains(&Some(id.clone())))
        }
    }
}

/// One suspect in a plan, and never the last instance that serves its image.
fn check_suspects(snapshot: &Snapshot, plan: &Plan, found: &mut Vec<Violation>) {
    let mut drained = BTreeSet::new();
    for step in &plan.steps {
        let Action::Drain { instance, cause } = &step.action else {
            continue;
        };
        if *cause != DrainCause::Suspect {
            continue;
        }
        drained.insert(instance);
        let image = snapshot.instances.get(instance).map(|it| &it.image_id);
        let another_serves = snapshot.instances.values().any(|other| {
            Some(&other.image_id) == image
                && other.id != *instance
                && other.status == InstanceStatus::Active
        });
        if drained.len() > 1 || !another_serves {
            found.push(Violation::DrainsTooManySuspects(instance.clone()));
        }
    }
}

/// Not more instances drain for their age at a time than the guard would let go.
fn check_ages(snapshot: &Snapshot, plan: &Plan, found: &mut Vec<Violation>) {
    let is_for_age = |step: &&Step| {
        matches!(
            step.action,
            Action::Drain {
                cause: DrainCause::MaxAge,
                ..
            }
        )
    };
    let drained = plan.steps.iter().filter(is_for_age).count();
    let most = replacing::most_old(snapshot);
    if drained > most {
        found.push(Violation::DrainsTooManyForAge { drained, most });
    }
}

/// Only users have priority over an upgrade.
fn check_warming(snapshot: &Snapshot, plan: &Plan, now: Timestamp, found: &mut Vec<Violation>) {
    let drained = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Drain { instance, .. } => snapshot.instances.get(instance),
        _ => None,
    });
    let is_warming = |instance: &&Instance| {
        instance.notice.is_none() && snapshot.image_state(instance) == Some(ImageState::Warming)
    };
    let warming: Vec<_> = drained.filter(is_warming).collect();
    // This reads all rows, and mostly nothing that warms is drained.
    if !warming.is_empty() && !snapshot.is_short_of_slots(now) {
        let ids = warming.iter().map(|instance| instance.id.clone());
        found.extend(ids.map(Violation::DrainsProtected));
    }
}

fn check_drain(
    snapshot: &Snapshot,
    id: &InstanceId,
    cause: DrainCause,
    now: Timestamp,
    found: &mut Vec<Violation>,
) {
    let Some(instance) = snapshot.instances.get(id) else {
        return found.push(Violation::NamesUnknown(id.clone()));
    };
    // Users stay on an instance that drains for one of these. Only a deadline ends their sessions.
    let keeps_users = instance.notice.is_some()
        || match cause {
            DrainCause::Suspect => true,
            DrainCause::MaxAge => snapshot.is_of_age(instance, now),
            DrainCause::Image => snapshot.settings.endings.drain_deadline.is_some(),
            _ => false,
        };
    if !instance.is_empty() && !keeps_users {
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
        TerminateIf::Deadline if !snapshot.is_past_deadline(instance, now) => {
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
