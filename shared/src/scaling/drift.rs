//! Drift between the database's rows and EC2's listing: machines that are gone, instances that
//! are missing or lost, and orphans. The [guard](super::guard) keeps a wrong view from removing
//! anything.

use jiff::{SignedDuration, Timestamp};

use super::guard;
use super::plan::{Action, Plan};
use super::reason::Reason;
use super::snapshot::Snapshot;
use crate::ids::InstanceId;
use crate::model::{
    Instance, InstanceStatus, Machine, MachineState, NewInstance, SpotNotice, TerminateIf,
};

/// Listings lag behind launches: a row younger than this is not yet called missing.
const LISTING_LAG: SignedDuration = SignedDuration::from_secs(60);

/// The capacity of an orphan comes from a tag, which anybody may have written: its row gets at
/// least one slot and at most this many.
const MAX_ORPHAN_CAPACITY: u32 = 1000;

/// What the guard has to allow.
#[derive(Default)]
struct Findings<'a> {
    /// Rows whose machine is down although the service did not request it.
    unexpectedly_gone: Vec<(&'a Instance, MachineState)>,
    missing: Vec<&'a Instance>,
    /// Machines without a row, with their age.
    orphans: Vec<(&'a Machine, SignedDuration)>,
    lost: Vec<&'a Instance>,
}

/// Compares rows with machines. Expected ends are settled at once, everything else only if the
/// guard allows it.
pub(super) fn resolve_drift(snapshot: &Snapshot, now: Timestamp, plan: &mut Plan) {
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
                check_stray(snapshot, machine, now, plan, &mut findings);
            }
            (None, None) => {}
        }
    }
    // The clocks of missing instances start even while the guard holds: they remove nothing.
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
    let found = guard::Found {
        gone: findings.unexpectedly_gone.len() + findings.missing.len(),
        orphaned: findings.orphans.len(),
        lost: findings.lost.len(),
    };
    if guard::allows_removal(snapshot, found, now, plan) {
        remove(snapshot, &findings, now, plan);
    }
}

/// A machine without a row belongs to an open launch, is about to end, or is an orphan.
fn check_stray<'a>(
    snapshot: &Snapshot,
    machine: &'a Machine,
    now: Timestamp,
    plan: &mut Plan,
    findings: &mut Findings<'a>,
) {
    let is_of_open_launch = machine
        .launch_id
        .as_ref()
        .is_some_and(|id| snapshot.has_open_intent(id));
    if is_of_open_launch || machine.state.is_going() {
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
            // EC2 announced it: this is not a wrong view of the world.
            InstanceStatus::PreConnection | InstanceStatus::Active
                if instance.notice == Some(SpotNotice::Interruption) =>
            {
                end_down(instance, machine.state, plan);
            }
            InstanceStatus::PreConnection | InstanceStatus::Active => {
                findings.unexpectedly_gone.push((instance, machine.state));
            }
            // A host agent that is draining and empty shuts its machine down: the normal end.
            InstanceStatus::Draining => end_down(instance, machine.state, plan),
            InstanceStatus::Terminating => {
                if machine.state == MachineState::Terminated {
                    remove_row(&instance.id, Reason::TerminatedAtEc2, plan);
                }
            }
        }
    } else if snapshot.is_lost(instance, now) {
        findings.lost.push(instance);
    }
}

fn remove(snapshot: &Snapshot, findings: &Findings<'_>, now: Timestamp, plan: &mut Plan) {
    for (instance, state) in &findings.unexpectedly_gone {
        end_down(instance, *state, plan);
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
                orphan: row_of_orphan(machine),
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
        terminate(instance, TerminateIf::Lost, true, reason.clone(), plan);
        plan.alert(Some(&instance.id), reason);
    }
}

/// A missing instance is not necessarily terminated. Its row is deleted only after two complete
/// listings far enough apart, if EC2 does not know its id and its agent is silent.
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
    let silence = instance.beat_at.map(|beat| now.duration_since(beat));
    if silence.is_some_and(|silence| silence < timeouts.heartbeat) {
        return plan.alert(Some(&instance.id), Reason::MissingButBeating { seconds });
    }
    let reason = Reason::MissingAndUnknown { seconds };
    terminate(instance, TerminateIf::Missing, false, reason.clone(), plan);
    remove_row(&instance.id, reason, plan);
}

/// The machine is down: the instance gets no more users, and its row is deleted once the machine
/// is terminated. A machine that was only stopped is terminated, or it would cost its disks
/// forever.
fn end_down(instance: &Instance, state: MachineState, plan: &mut Plan) {
    let reason = Reason::DownAtEc2 {
        state,
        status: instance.status,
        occupied: instance.slots.occupied,
    };
    let ask_ec2 = !state.is_going();
    terminate(instance, TerminateIf::Gone, ask_ec2, reason.clone(), plan);
    let was_announced = instance.notice == Some(SpotNotice::Interruption);
    let was_drained = instance.status == InstanceStatus::Draining && instance.is_empty();
    if !was_announced && !was_drained {
        plan.alert(Some(&instance.id), reason);
    }
    if state == MachineState::Terminated {
        remove_row(&instance.id, Reason::TerminatedAtEc2, plan);
    }
}

fn terminate(
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

fn row_of_orphan(machine: &Machine) -> NewInstance {
    NewInstance {
        id: machine.id.clone(),
        launch_id: machine.launch_id.clone().unwrap_or_else(|| "none".into()),
        image_id: machine.image_id.clone(),
        client_sha: machine.client_sha.clone(),
        instance_type: machine.instance_type.clone(),
        capacity: machine.capacity.clamp(1, MAX_ORPHAN_CAPACITY),
        launched_at: machine.launched_at,
    }
}
