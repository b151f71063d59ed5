//! The database against EC2: what is gone, what is missing, what nobody knows of. And the
//! guard: a wrong view of the world must remove nothing.

use jiff::{SignedDuration, Timestamp};

use super::lifecycle;
use super::plan::{Action, Plan};
use super::reason::Reason;
use super::snapshot::Snapshot;
use crate::ids::InstanceId;
use crate::model::TerminateIf;
use crate::model::{Instance, InstanceStatus, Machine, MachineState, NewInstance, SpotNotice};

/// Listings lag behind launches; a row younger than this is not yet called missing.
const LISTING_LAG: SignedDuration = SignedDuration::from_secs(60);

/// A pass may find this many instances gone, orphaned or lost, or a tenth of the region's,
/// without an operator's word.
const GUARD_FLOOR: usize = 3;
const GUARD_SHARE: usize = 10;

/// Of so many, the most that a pass may find gone without an operator's word.
pub(super) fn most_at_once(of: usize) -> usize {
    GUARD_FLOOR.max(of / GUARD_SHARE)
}

#[derive(Default)]
struct Findings<'a> {
    /// Rows whose machine is down although nobody here asked for it.
    unexpectedly_gone: Vec<(&'a Instance, MachineState)>,
    missing: Vec<&'a Instance>,
    orphans: Vec<(&'a Machine, SignedDuration)>,
    lost: Vec<&'a Instance>,
}

pub(super) fn detect_drift(snapshot: &Snapshot, now: Timestamp, plan: &mut Plan) {
    let mut findings = Findings::default();
    for pair in snapshot.rows_with_machines() {
        match pair {
            (Some(instance), Some(machine)) => {
                compare_listed(snapshot, instance, machine, now, plan, &mut findings);
            }
            (Some(instance), None) => {
                if now.duration_since(instance.launched_at) >= LISTING_LAG {
                    findings.missing.push(instance);
                }
            }
            (None, Some(machine)) => {
                consider_stray(snapshot, machine, now, plan, &mut findings);
            }
            (None, None) => {}
        }
    }
    // The clocks of missing instances run whatever the guard says: they remove nothing.
    for instance in &findings.missing {
        if instance.missing_since.is_none() {
            plan.push(
                Action::NoteMissing {
                    instance: instance.id.clone(),
                },
                Reason::NotListed,
            );
        }
    }
    if allowed_by_guard(snapshot, &findings, now, plan) {
        remove(snapshot, &findings, now, plan);
    }
}

/// A machine without a row: of a launch under way, on its way out, or an orphan.
fn consider_stray<'a>(
    snapshot: &Snapshot,
    machine: &'a Machine,
    now: Timestamp,
    plan: &mut Plan,
    findings: &mut Findings<'a>,
) {
    let under_way = machine
        .launch_id
        .as_ref()
        .is_some_and(|id| snapshot.has_open_intent(id));
    if under_way || machine.state.is_going() {
        return;
    }
    let age = now.duration_since(machine.launched_at);
    if age < snapshot.settings.timeouts.orphan {
        plan.note(
            Some(&machine.id),
            Reason::YoungOrphan {
                age_seconds: age.as_secs(),
            },
        );
    } else {
        findings.orphans.push((machine, age));
    }
}

fn compare_listed<'a>(
    snapshot: &Snapshot,
    instance: &'a Instance,
    machine: &'a Machine,
    now: Timestamp,
    plan: &mut Plan,
    findings: &mut Findings<'a>,
) {
    if instance.missing_since.is_some() {
        plan.push(
            Action::NotePresent {
                instance: instance.id.clone(),
            },
            Reason::ListedAgain,
        );
    }
    if machine.state.is_down() {
        match instance.status {
            // It said so before: no wrong view of the world.
            InstanceStatus::PreConnection | InstanceStatus::Active
                if instance.notice == Some(SpotNotice::Interruption) =>
            {
                gone(instance, machine.state, plan);
            }
            InstanceStatus::PreConnection | InstanceStatus::Active => {
                findings.unexpectedly_gone.push((instance, machine.state));
            }
            // A host agent that is draining and empty shuts its machine down: the normal end.
            InstanceStatus::Draining => gone(instance, machine.state, plan),
            InstanceStatus::Terminating => {
                if machine.state == MachineState::Terminated {
                    remove_row(&instance.id, Reason::TerminatedAtEc2, plan);
                }
            }
        }
    } else if lifecycle::is_lost(snapshot, instance, now) {
        findings.lost.push(instance);
    }
}

fn allowed_by_guard(
    snapshot: &Snapshot,
    findings: &Findings<'_>,
    now: Timestamp,
    plan: &mut Plan,
) -> bool {
    let gone = findings.unexpectedly_gone.len() + findings.missing.len();
    let orphaned = findings.orphans.len();
    let lost = if findings.lost.is_empty() {
        0
    } else {
        unheard(snapshot, now)
    };
    let allowed = most_at_once(snapshot.instances.len());
    if gone + orphaned + lost <= allowed || snapshot.mass_removal_approved {
        return true;
    }
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    plan.alert(
        None,
        Reason::Guard {
            gone: count(gone),
            orphaned: count(orphaned),
            lost: count(lost),
            allowed: count(allowed),
        },
    );
    false
}

/// Agents that were not heard of lately, or only just again. When the way between agents and
/// database breaks, they cross the bound one by one, and come back one by one: each pass would
/// see a few lost ones and give them up.
fn unheard(snapshot: &Snapshot, now: Timestamp) -> usize {
    let timeouts = &snapshot.settings.timeouts;
    let just_again = |at: Timestamp| now.duration_since(at) < timeouts.lost / 2;
    snapshot
        .instances
        .values()
        .filter(|i| matches!(i.status, InstanceStatus::Active | InstanceStatus::Draining))
        .filter(|instance| {
            snapshot.silence(instance, now) >= timeouts.heartbeat
                || instance.resumed_at.is_some_and(just_again)
        })
        .count()
}

fn remove(snapshot: &Snapshot, findings: &Findings<'_>, now: Timestamp, plan: &mut Plan) {
    for (instance, state) in &findings.unexpectedly_gone {
        gone(instance, *state, plan);
    }
    for instance in &findings.missing {
        remove_missing(snapshot, instance, now, plan);
    }
    for (machine, age) in &findings.orphans {
        let reason = Reason::OrphanOf {
            launch: machine.launch_id.clone(),
            age_seconds: age.as_secs(),
        };
        plan.push(
            Action::TerminateOrphan {
                orphan: as_row(machine),
            },
            reason.clone(),
        );
        plan.alert(Some(&machine.id), reason);
    }
    for instance in &findings.lost {
        let reason = Reason::Lost {
            silent_seconds: snapshot.silence(instance, now).as_secs(),
            occupied: instance.slots.occupied,
        };
        commit(instance, TerminateIf::Lost, true, reason.clone(), plan);
        plan.alert(Some(&instance.id), reason);
    }
}

/// Not found does not mean terminated: it takes two complete listings far enough apart, EC2's
/// word that it does not know the id, and an agent that is silent, too.
fn remove_missing(snapshot: &Snapshot, instance: &Instance, now: Timestamp, plan: &mut Plan) {
    let Some(since) = instance.missing_since else {
        return;
    };
    let timeouts = &snapshot.settings.timeouts;
    let missing_for = now.duration_since(since);
    let seconds = missing_for.as_secs();
    if missing_for < timeouts.missing {
        return plan.note(Some(&instance.id), Reason::MissingStill { seconds });
    }
    if !snapshot.unknown_to_ec2.contains(&instance.id) {
        return plan.alert(Some(&instance.id), Reason::NotListedButKnown { seconds });
    }
    let heard = instance.beat_at.map(|beat| now.duration_since(beat));
    if heard.is_some_and(|silence| silence < timeouts.heartbeat) {
        return plan.alert(Some(&instance.id), Reason::MissingButBeating { seconds });
    }
    let reason = Reason::MissingAndUnknown { seconds };
    commit(instance, TerminateIf::Missing, false, reason.clone(), plan);
    remove_row(&instance.id, reason, plan);
}

/// The machine is down: nobody is assigned there any more, and once it is terminated the row
/// goes. One that was only stopped is terminated: it would cost its disks for ever.
fn gone(instance: &Instance, state: MachineState, plan: &mut Plan) {
    let reason = Reason::DownAtEc2 {
        state,
        status: instance.status,
        occupied: instance.slots.occupied,
    };
    let ask_ec2 = !state.is_going();
    commit(instance, TerminateIf::Gone, ask_ec2, reason.clone(), plan);
    if instance.notice == Some(SpotNotice::Interruption) {
        // As EC2 had announced.
    } else if instance.status != InstanceStatus::Draining || !instance.is_empty() {
        plan.alert(Some(&instance.id), reason);
    }
    if state == MachineState::Terminated {
        remove_row(&instance.id, Reason::TerminatedAtEc2, plan);
    }
}

fn commit(
    instance: &Instance,
    condition: TerminateIf,
    ask_ec2: bool,
    reason: Reason,
    plan: &mut Plan,
) {
    if instance.status != InstanceStatus::Terminating {
        plan.push(
            Action::Terminate {
                instance: instance.id.clone(),
                condition,
                ask_ec2,
            },
            reason,
        );
    }
}

fn remove_row(id: &InstanceId, reason: Reason, plan: &mut Plan) {
    plan.push(
        Action::Remove {
            instance: id.clone(),
        },
        reason,
    );
}

fn as_row(machine: &Machine) -> NewInstance {
    NewInstance {
        id: machine.id.clone(),
        launch_id: machine.launch_id.clone().unwrap_or_else(|| "none".into()),
        image_id: machine.image_id.clone(),
        client_sha: machine.client_sha.clone(),
        instance_type: machine.instance_type.clone(),
        // From a tag, which anybody may have written.
        capacity: machine.capacity.clamp(1, 1000),
        launched_at: machine.launched_at,
    }
}
