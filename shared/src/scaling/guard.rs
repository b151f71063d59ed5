//! The guard: a wrong view of the world must remove nothing. A pass that finds too much gone at
//! once removes none of it and alerts; an operator checks, and may approve the removal.

use jiff::Timestamp;

use super::plan::Plan;
use super::reason::Reason;
use super::snapshot::Snapshot;
use crate::model::InstanceStatus;

/// A pass may find this many instances gone, orphaned or lost without an operator's approval, or
/// a tenth of the region's instances if that is more.
const GUARD_FLOOR: usize = 3;
const GUARD_SHARE: usize = 10;

/// How many of `instances` a pass may remove without an operator's approval.
pub(super) fn removal_limit(instances: usize) -> usize {
    GUARD_FLOOR.max(instances / GUARD_SHARE)
}

/// What a pass found that justifies a removal, in numbers of instances.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) gone: usize,
    pub(super) orphaned: usize,
    pub(super) lost: usize,
}

/// Whether what was found may be removed. If not, adds an alert to the plan.
pub(super) fn allows_removal(
    snapshot: &Snapshot,
    found: Found,
    now: Timestamp,
    plan: &mut Plan,
) -> bool {
    let Found { gone, orphaned, .. } = found;
    let lost = if found.lost == 0 {
        0
    } else {
        count_silent(snapshot, now)
    };
    let allowed = removal_limit(snapshot.instances.len());
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

/// Instances whose agents are silent, or sent heartbeats again only recently. Counting only the
/// lost ones would not do: when the connection between agents and database breaks, agents cross
/// the limit one by one and come back one by one, and each pass would see only a few lost ones.
fn count_silent(snapshot: &Snapshot, now: Timestamp) -> usize {
    let timeouts = &snapshot.settings.timeouts;
    let is_recent = |at: Timestamp| now.duration_since(at) < timeouts.lost / 2;
    snapshot
        .instances
        .values()
        .filter(|i| matches!(i.status, InstanceStatus::Active | InstanceStatus::Draining))
        .filter(|instance| {
            snapshot.silence(instance, now) >= timeouts.heartbeat
                || instance.resumed_at.is_some_and(is_recent)
        })
        .count()
}
