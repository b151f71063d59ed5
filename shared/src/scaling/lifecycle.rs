//! An instance's states have time limits: an instance that exceeds one is ended or reported.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::plan::{Action, Plan};
use super::reason::Reason;
use super::snapshot::Snapshot;
use crate::ids::InstanceId;
use crate::model::{Instance, InstanceStatus, TerminateIf};

/// Applies the limits to every instance that [drift](super::drift) did not settle.
pub(super) fn end_overdue(
    snapshot: &Snapshot,
    down: &BTreeSet<&InstanceId>,
    now: Timestamp,
    plan: &mut Plan,
) {
    let leaving = plan.leaving();
    for instance in snapshot.instances.values() {
        // Drift decides about machines that are down and about lost instances, even if its guard
        // keeps them.
        if leaving.contains(&instance.id)
            || (down.contains(&instance.id) && instance.status != InstanceStatus::Terminating)
            || snapshot.is_lost(instance, now)
        {
            continue;
        }
        match instance.status {
            InstanceStatus::PreConnection => end_never_up(snapshot, instance, now, plan),
            InstanceStatus::Active => note_silent(snapshot, instance, now, plan),
            InstanceStatus::Draining => end_drained(snapshot, instance, now, plan),
            InstanceStatus::Terminating => repeat_termination(snapshot, instance, plan),
        }
    }
}

fn end_never_up(snapshot: &Snapshot, instance: &Instance, now: Timestamp, plan: &mut Plan) {
    if snapshot.never_came_up(instance, now) {
        let seconds = now.duration_since(instance.launched_at).as_secs();
        terminate(instance, Reason::NeverCameUp { seconds }, plan);
        plan.alert(Some(&instance.id), Reason::NeverCameUp { seconds });
    }
}

fn note_silent(snapshot: &Snapshot, instance: &Instance, now: Timestamp, plan: &mut Plan) {
    let silence = snapshot.silence(instance, now);
    if silence >= snapshot.settings.timeouts.heartbeat {
        let reason = Reason::Silent {
            silent_seconds: silence.as_secs(),
            occupied: instance.slots.occupied,
        };
        plan.note(Some(&instance.id), reason);
    }
}

/// Its agent should have shut the machine down. An occupied instance is only reported.
fn end_drained(snapshot: &Snapshot, instance: &Instance, now: Timestamp, plan: &mut Plan) {
    let since = instance.draining_since.unwrap_or(instance.launched_at);
    let draining_for = now.duration_since(since);
    if draining_for < snapshot.settings.timeouts.drain {
        return;
    }
    let seconds = draining_for.as_secs();
    if instance.is_empty() {
        terminate(instance, Reason::DrainedAndStillThere { seconds }, plan);
    } else {
        let reason = Reason::DrainingOccupied {
            occupied: instance.slots.occupied,
            seconds,
        };
        // An instance with a spot notice was drained with its users on purpose.
        if instance.notice.is_some() {
            plan.note(Some(&instance.id), reason);
        } else {
            plan.alert(Some(&instance.id), reason);
        }
    }
}

/// A pass ended between the commit and the call, or EC2 did not execute the call. The row is
/// `TERMINATING` already: only EC2 is asked again.
fn repeat_termination(snapshot: &Snapshot, instance: &Instance, plan: &mut Plan) {
    let machine = snapshot.machines.get(&instance.id);
    if machine.is_some_and(|machine| !machine.state.is_going()) {
        terminate(instance, Reason::Committed, plan);
    }
}

fn terminate(instance: &Instance, reason: Reason, plan: &mut Plan) {
    let action = Action::Terminate {
        instance: instance.id.clone(),
        condition: TerminateIf::Empty,
        ask_ec2: true,
    };
    plan.push(action, reason);
}
