//! Instances on their way out: each state has a bound, and what passes it is ended or reported.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::plan::{Action, Plan};
use super::reason::Reason;
use super::snapshot::Snapshot;
use crate::ids::InstanceId;
use crate::model::TerminateIf;
use crate::model::{Instance, InstanceStatus};

/// A host agent silent for this long is given up, with whoever may be there.
pub(super) fn is_lost(snapshot: &Snapshot, instance: &Instance, now: Timestamp) -> bool {
    matches!(instance.status, InstanceStatus::Active | InstanceStatus::Draining)
        // An instance that was drained before it ever registered has no agent to lose.
        && instance.active_at.is_some()
        && snapshot.silence(instance, now) >= snapshot.settings.timeouts.lost
}

pub(super) fn never_came_up(snapshot: &Snapshot, instance: &Instance, now: Timestamp) -> bool {
    instance.status == InstanceStatus::PreConnection
        // An agent could not register while nobody could be reached.
        && now.duration_since(instance.launched_at.max(snapshot.watched_since))
            >= snapshot.settings.timeouts.boot
}

pub(super) fn finish(
    snapshot: &Snapshot,
    down: &BTreeSet<&InstanceId>,
    now: Timestamp,
    plan: &mut Plan,
) {
    let leaving = plan.leaving();
    for instance in snapshot.instances.values() {
        // What EC2 has given up, or what is lost, is `verify`'s, also when its guard keeps it.
        if leaving.contains(&instance.id)
            || (down.contains(&instance.id) && instance.status != InstanceStatus::Terminating)
            || is_lost(snapshot, instance, now)
        {
            continue;
        }
        match instance.status {
            InstanceStatus::PreConnection => booting(snapshot, instance, now, plan),
            InstanceStatus::Active => silent(snapshot, instance, now, plan),
            InstanceStatus::Draining => draining(snapshot, instance, now, plan),
            InstanceStatus::Terminating => committed(snapshot, instance, plan),
        }
    }
}

fn booting(snapshot: &Snapshot, instance: &Instance, now: Timestamp, plan: &mut Plan) {
    if never_came_up(snapshot, instance, now) {
        let seconds = now.duration_since(instance.launched_at).as_secs();
        terminate(instance, Reason::NeverCameUp { seconds }, plan);
        plan.alert(Some(&instance.id), Reason::NeverCameUp { seconds });
    }
}

fn silent(snapshot: &Snapshot, instance: &Instance, now: Timestamp, plan: &mut Plan) {
    let silence = snapshot.silence(instance, now);
    if silence >= snapshot.settings.timeouts.heartbeat {
        let reason = Reason::Silent {
            silent_seconds: silence.as_secs(),
            occupied: instance.slots.occupied,
        };
        plan.note(Some(&instance.id), reason);
    }
}

fn draining(snapshot: &Snapshot, instance: &Instance, now: Timestamp, plan: &mut Plan) {
    let since = instance.draining_since.unwrap_or(instance.launched_at);
    let draining_for: SignedDuration = now.duration_since(since);
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
        // One that EC2 advised to leave was drained with its users on purpose.
        if instance.notice.is_some() {
            plan.note(Some(&instance.id), reason);
        } else {
            plan.alert(Some(&instance.id), reason);
        }
    }
}

/// A pass died between the commit and the call, or EC2 did not carry the call out.
fn committed(snapshot: &Snapshot, instance: &Instance, plan: &mut Plan) {
    let machine = snapshot.machines.get(&instance.id);
    if machine.is_some_and(|machine| !machine.state.is_going()) {
        // The row is there already; only EC2 has to be asked again.
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
