//! An instance's states have time limits: an instance that exceeds one is ended or reported.

use jiff::Timestamp;

use super::plan::Plan;
use super::reason::Reason;
use super::rests;
use super::rows::{Row, Rows};
use super::snapshot::Snapshot;
use crate::model::{DrainCause, Instance, InstanceStatus, TerminateIf};

/// Applies the limits to every instance that [drift](super::drift) did not settle.
pub(super) fn end_overdue(snapshot: &Snapshot, rows: &Rows<'_>, now: Timestamp, plan: &mut Plan) {
    for row in rows.unusual() {
        let status = row.instance.status;
        // Drift decides about machines that are down and about lost instances, even if its guard
        // keeps them.
        if row.is_ended() || (row.is_down && status != InstanceStatus::Terminating) || row.is_lost {
            continue;
        }
        match status {
            InstanceStatus::PreConnection => end_never_up(snapshot, row, now, plan),
            InstanceStatus::Active => note_silent(snapshot, row.instance, now, plan),
            InstanceStatus::Draining => end_drained(snapshot, row, now, plan),
            InstanceStatus::Terminating => repeat_termination(row, plan),
        }
    }
}

fn end_never_up(snapshot: &Snapshot, row: &Row<'_>, now: Timestamp, plan: &mut Plan) {
    let instance = row.instance;
    if snapshot.never_came_up(instance, now) {
        let seconds = now.duration_since(instance.launched_at).as_secs();
        terminate(row, Reason::NeverCameUp { seconds }, plan);
        // One whose pool rests for it is in the alert about the pool.
        if !rests::is_in_alert_of_pool(snapshot, row, now) {
            plan.alert(Some(&instance.id), Reason::NeverCameUp { seconds });
        }
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

/// Its agent should have shut the machine down. An occupied instance is only reported, until the deadline
/// of its drain is over, where there is one.
fn end_drained(snapshot: &Snapshot, row: &Row<'_>, now: Timestamp, plan: &mut Plan) {
    let instance = row.instance;
    // No agent of it is heard any more: neither can it shut the machine down, nor end a session.
    if instance.drain_cause == Some(DrainCause::Revoked) {
        let occupied = instance.slots.occupied;
        let reason = Reason::AgentRevoked { occupied };
        if instance.is_empty() {
            terminate(row, reason, plan);
        } else {
            plan.note(Some(&instance.id), reason);
        }
        return;
    }
    let since = instance.draining_since.unwrap_or(instance.launched_at);
    let draining_for = now.duration_since(since);
    if !instance.is_empty() && snapshot.is_past_deadline(instance, now) {
        let reason = Reason::DrainDeadline {
            seconds: draining_for.as_secs(),
            occupied: instance.slots.occupied,
        };
        plan.alert(Some(&instance.id), reason.clone());
        return plan.terminate(row, TerminateIf::Deadline, true, reason);
    }
    if draining_for < snapshot.settings.timeouts.drain {
        return;
    }
    let seconds = draining_for.as_secs();
    if instance.is_empty() {
        terminate(row, Reason::DrainedAndStillThere { seconds }, plan);
    } else {
        let reason = Reason::DrainingOccupied {
            occupied: instance.slots.occupied,
            seconds,
        };
        let with_users = matches!(
            instance.drain_cause,
            Some(DrainCause::Suspect | DrainCause::Image | DrainCause::MaxAge)
        );
        // They were drained with their users on purpose.
        if instance.notice.is_some() || with_users {
            plan.note(Some(&instance.id), reason);
        } else {
            plan.alert(Some(&instance.id), reason);
        }
    }
}

/// A pass ended between the commit and the call, or EC2 did not execute the call. The row is
/// `TERMINATING` already: only EC2 is asked again.
fn repeat_termination(row: &Row<'_>, plan: &mut Plan) {
    if row.machine.is_some_and(|machine| !machine.state.is_going()) {
        terminate(row, Reason::Committed, plan);
    }
}

fn terminate(row: &Row<'_>, reason: Reason, plan: &mut Plan) {
    plan.terminate(row, TerminateIf::Empty, true, reason);
}
