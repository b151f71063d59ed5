//! Drift between the database's rows and EC2's listing: machines that are gone, instances that
//! are missing or lost, and orphans. The [guard](super::guard) keeps a wrong view from removing
//! anything.

use jiff::{SignedDuration, Timestamp};

use super::plan::{Action, Plan};
use super::reason::Reason;
use super::rows::{Entry, Row, Rows};
use super::snapshot::Snapshot;
use super::{guard, rests};
use crate::model::{
    DrainCause, InstanceStatus, Machine, MachineState, NewInstance, SpotNotice, TerminateIf,
};

/// Listings lag behind launches: a row younger than this is not yet called missing.
const LISTING_LAG: SignedDuration = SignedDuration::from_secs(60);

/// The capacity of an orphan comes from a tag, which anybody may have written: its row gets at
/// least one slot and at most this many.
const MAX_ORPHAN_CAPACITY: u32 = 1000;

/// What the guard has to allow.
#[derive(Default)]
struct Findings<'a, 's> {
    /// Rows whose machine is down although the service did not request it.
    unexpectedly_gone: Vec<(&'a Row<'s>, &'s Machine)>,
    missing: Vec<&'a Row<'s>>,
    /// Machines without a row, with their age.
    orphans: Vec<(&'s Machine, SignedDuration)>,
    lost: Vec<&'a Row<'s>>,
}

/// Compares rows with machines. Expected ends are settled at once, everything else only if the
/// guard allows it.
pub(super) fn resolve_drift(snapshot: &Snapshot, rows: &Rows<'_>, now: Timestamp, plan: &mut Plan) {
    let mut findings = Findings::default();
    for entry in rows.unusual_and_strays() {
        match entry {
            Entry::Row(row) => match row.machine {
                Some(machine) => compare_listed(snapshot, row, machine, now, plan, &mut findings),
                None => {
                    if now.duration_since(row.instance.launched_at) >= LISTING_LAG {
                        findings.missing.push(row);
                    }
                }
            },
            Entry::Stray(machine) => check_stray(snapshot, machine, now, plan, &mut findings),
        }
    }
    // The clocks of missing instances start even while the guard holds: they remove nothing.
    for row in &findings.missing {
        let instance = row.instance;
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
fn check_stray<'s>(
    snapshot: &Snapshot,
    machine: &'s Machine,
    now: Timestamp,
    plan: &mut Plan,
    findings: &mut Findings<'_, 's>,
) {
    if machine.state.is_going() || snapshot.is_of_open_launch(machine) {
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

fn compare_listed<'a, 's>(
    snapshot: &Snapshot,
    row: &'a Row<'s>,
    machine: &'s Machine,
    now: Timestamp,
    plan: &mut Plan,
    findings: &mut Findings<'a, 's>,
) {
    let instance = row.instance;
    if instance.missing_since.is_some() {
        plan.push(
            Action::NotePresent {
                instance: instance.id.clone(),
            },
            Reason::ListedAgain,
        );
    }
    if row.is_down {
        match instance.status {
            // EC2 announced it: this is not a wrong view of the world.
            InstanceStatus::PreConnection | InstanceStatus::Active
                if instance.notice == Some(SpotNotice::Interruption) =>
            {
                end_down(snapshot, row, machine, now, plan);
            }
            // It never had a user, and EC2 itself says that it is over.
            InstanceStatus::PreConnection if machine.state.is_going() => {
                end_down(snapshot, row, machine, now, plan);
            }
            InstanceStatus::PreConnection | InstanceStatus::Active => {
                findings.unexpectedly_gone.push((row, machine));
            }
            // A host agent that is draining and empty shuts its machine down: the normal end.
            InstanceStatus::Draining => end_down(snapshot, row, machine, now, plan),
            InstanceStatus::Terminating => {
                if machine.state == MachineState::Terminated {
                    plan.remove(row, Reason::TerminatedAtEc2);
                }
            }
        }
    } else if row.is_lost {
        // An operator decided this end. It is no sign of a wrong view, and nothing to alert.
        if instance.drain_cause == Some(DrainCause::Revoked) {
            let occupied = instance.slots.occupied;
            let reason = Reason::AgentRevoked { occupied };
            terminate(row, TerminateIf::Lost, true, reason, plan);
        } else {
            findings.lost.push(row);
        }
    }
}

fn remove(snapshot: &Snapshot, findings: &Findings<'_, '_>, now: Timestamp, plan: &mut Plan) {
    for (row, machine) in &findings.unexpectedly_gone {
        end_down(snapshot, row, machine, now, plan);
    }
    for row in &findings.missing {
        remove_missing(snapshot, row, now, plan);
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
    for row in &findings.lost {
        let instance = row.instance;
        let reason = Reason::Lost {
            silent_seconds: snapshot.silence(instance, now).as_secs(),
            occupied: instance.slots.occupied,
        };
        terminate(row, TerminateIf::Lost, true, reason.clone(), plan);
        if !rests::is_in_alert_of_pool(snapshot, row, now) {
            plan.alert(Some(&instance.id), reason);
        }
    }
}

/// A missing instance is not necessarily terminated. Its row is deleted only after two complete
/// listings far enough apart, if EC2 does not know its id and its agent is silent.
fn remove_missing(snapshot: &Snapshot, row: &Row<'_>, now: Timestamp, plan: &mut Plan) {
    let instance = row.instance;
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
    terminate(row, TerminateIf::Missing, false, reason.clone(), plan);
    plan.remove(row, reason);
}

/// The machine is down: the instance gets no more users, and its row is deleted once the machine
/// is terminated. A machine that was only stopped is terminated, or it would cost its disks
/// forever.
fn end_down(
    snapshot: &Snapshot,
    row: &Row<'_>,
    machine: &Machine,
    now: Timestamp,
    plan: &mut Plan,
) {
    let instance = row.instance;
    let state = machine.state;
    let reason = Reason::DownAtEc2 {
        state,
        status: instance.status,
        occupied: instance.slots.occupied,
        state_reason: machine.state_reason.clone(),
    };
    let ask_ec2 = !state.is_going();
    terminate(row, TerminateIf::Gone, ask_ec2, reason.clone(), plan);
    let was_announced = instance.notice == Some(SpotNotice::Interruption);
    let was_drained = instance.status == InstanceStatus::Draining && instance.is_empty();
    // One that did not live is in the alert about its pool.
    if !was_announced && !was_drained && !rests::is_in_alert_of_pool(snapshot, row, now) {
        plan.alert(Some(&instance.id), reason);
    }
    if state == MachineState::Terminated {
        plan.remove(row, Reason::TerminatedAtEc2);
    }
}

fn terminate(
    row: &Row<'_>,
    condition: TerminateIf,
    ask_ec2: bool,
    reason: Reason,
    plan: &mut Plan,
) {
    if row.instance.status != InstanceStatus::Terminating {
        plan.terminate(row, condition, ask_ec2, reason);
    }
}

fn row_of_orphan(machine: &Machine) -> NewInstance {
    NewInstance {
        id: machine.id.clone(),
        launch_id: machine.launch_id.clone().unwrap_or_else(|| "none".into()),
        image_id: machine.image_id.clone(),
        client_sha: machine.client_sha.clone(),
        instance_type: machine.instance_type.clone(),
        subnet_id: machine.subnet_id.clone(),
        spot: machine.spot,
        capacity: machine.capacity.clamp(1, MAX_ORPHAN_CAPACITY),
        private_ip: machine.address,
        public_ip: machine.public_address,
        launched_at: machine.launched_at,
    }
}
