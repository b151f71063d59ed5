//! Instances whose sessions end within seconds, or whose users never get through: a broken GPU, a full
//! disk, a program that crashes at its start, an agent that captures users. They would get one user
//! after the other, because their slots are free again so soon.
//!
//! The norm of the region decides: where sessions end quickly on most instances, it is the image or
//! the product, and replacing instances would not help.

use std::cmp::Reverse;

use super::guard;
use super::plan::Plan;
use super::reason::Reason;
use super::rows::{Row, Rows};
use super::snapshot::Snapshot;
use crate::ids::InstanceId;
use crate::model::{DrainCause, Instance, InstanceStatus};

/// As many users in a row have to fail before an instance is suspected. The database counts users, not
/// sessions, so that one user alone cannot make an instance suspect.
const SEVERAL: u32 = 3;

/// Drains one suspect at most: if the rule is wrong, a region must not lose its instances to it at once.
pub(super) fn drain_suspect(snapshot: &Snapshot, rows: &Rows<'_>, plan: &mut Plan) {
    let serves = |row: &&Row<'_>| row.is_free && row.is_served() && !row.is_ended();
    let suspects = rows.unusual().filter(serves);
    let suspects: Vec<_> = suspects.filter(|row| is_suspect(row.instance)).collect();
    let worst = suspects.iter().min_by_key(|row| SuspectRank {
        more_users: Reverse(failed_users(row.instance)),
        id: &row.instance.id,
    });
    let Some(row) = worst else {
        return;
    };
    let worst = row.instance;
    let others = || {
        let serving = rows.iter().filter(serves);
        serving.filter(|row| !is_suspect(row.instance))
    };
    let others_live = others().filter(|row| row.instance.sessions.live).count();
    if others_live < suspects.len() {
        let reason = Reason::SessionsEndQuicklyEverywhere {
            instances: count(suspects.len()),
            others: count(others_live),
            first: worst.id.clone(),
            seconds: snapshot.settings.quick_end_seconds,
        };
        return plan.alert(None, reason);
    }
    let is_last = !others().any(|row| row.instance.image_id == worst.image_id);
    let draining = snapshot
        .instances
        .values()
        .filter(|it| {
            it.status == InstanceStatus::Draining && it.drain_cause == Some(DrainCause::Suspect)
        })
        .count();
    let limit = guard::removal_limit(snapshot.instances.len());
    let users = failed_users(worst);
    if is_last || draining >= limit {
        let draining = count(draining);
        let reason = Reason::SuspectKept { users, draining };
        return plan.alert(Some(&worst.id), reason);
    }
    let reason = Reason::SessionsEndQuickly {
        users,
        connected: worst.sessions.quick >= SEVERAL,
        seconds: snapshot.settings.quick_end_seconds,
        occupied: worst.slots.occupied,
    };
    let (id, image, free) = (&worst.id, &worst.image_id, worst.slots.waiting);
    plan.alert(Some(id), reason.clone());
    plan.drain(row, DrainCause::Suspect, reason);
    // It is replaced in the same pass, and nothing else is drained because of its free slots.
    if let Some(buffer) = plan.images.iter_mut().find(|it| it.image == *image) {
        buffer.free = buffer.free.saturating_sub(free);
    }
    if snapshot.current_image().is_some_and(|it| it.id == *image) {
        plan.counts.free = plan.counts.free.saturating_sub(free);
    }
}

/// Users who do not connect may be at fault themselves, so a session that lives acquits the instance.
/// Sessions that end at once do not come from their users: an old session runs on when the disk is full.
pub(super) fn is_suspect(instance: &Instance) -> bool {
    let sessions = instance.sessions;
    sessions.quick >= SEVERAL || (sessions.unclaimed >= SEVERAL && !sessions.live)
}

fn failed_users(instance: &Instance) -> u32 {
    instance.sessions.quick.max(instance.sessions.unclaimed)
}

fn count(instances: usize) -> u32 {
    u32::try_from(instances).unwrap_or(u32::MAX)
}

/// The order of draining: the first one first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct SuspectRank<'a> {
    more_users: Reverse<u32>,
    id: &'a InstanceId,
}
