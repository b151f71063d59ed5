//! Instances that others replace: those that EC2 has announced to take, or may take soon, and old ones.
//! They get no new users once their replacement is ready.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::guard;
use super::plan::{ImageCounts, Plan};
use super::reason::Reason;
use super::rows::{Row, Rows};
use super::snapshot::Snapshot;
use crate::ids::{ImageId, InstanceId};
use crate::model::{DrainCause, Image, InstanceStatus, SpotNotice};

/// How many more instances may be replaced for their age now. A region whose instances are all of one age
/// is not replaced at once.
pub(super) fn most_old(snapshot: &Snapshot) -> usize {
    let rows = snapshot.instances.values();
    let draining = rows
        .filter(|it| it.status == InstanceStatus::Draining)
        .filter(|it| it.drain_cause == Some(DrainCause::MaxAge))
        .count();
    guard::removal_limit(snapshot.instances.len()).saturating_sub(draining)
}

/// The oldest instances that have reached the region's greatest age, as many as may be replaced at a time.
/// Those on an image that is not served leave for their image.
pub(super) fn old_instances<'s>(
    snapshot: &'s Snapshot,
    images: &BTreeMap<&ImageId, &Image>,
    now: Timestamp,
) -> BTreeSet<&'s InstanceId> {
    // Nothing would replace them.
    let is_held = snapshot.launches_held_until().is_some();
    if snapshot.settings.endings.max_age.is_none() || is_held {
        return BTreeSet::new();
    }
    let is_served = |id: &ImageId| images.get(id).is_some_and(|image| image.state.is_served());
    let mut old: Vec<_> = snapshot
        .instances
        .values()
        .filter(|it| it.status == InstanceStatus::Active && it.notice.is_none())
        .filter(|it| snapshot.is_of_age(it, now) && is_served(&it.image_id))
        .map(|it| (it.launched_at, &it.id))
        .collect();
    old.sort_unstable();
    let turn = old.into_iter().take(most_old(snapshot));
    turn.map(|(_, id)| id).collect()
}

/// Drains instances with a spot notice, and old ones. Their free slots are not counted, so that the buffer
/// replaces them. An interrupted instance is drained at once; the others only once their replacement is
/// ready.
pub(super) fn drain_replaced(rows: &Rows<'_>, now: Timestamp, plan: &mut Plan) {
    let in_service = |row: &&Row<'_>| row.instance.status.is_in_service() && row.stays();
    let counts = plan.counts;
    // At the maximum, no replacement can be launched beside it: one empty instance makes room.
    let mut may_make_room = counts.live >= counts.max;
    for row in rows.unusual().filter(in_service) {
        let instance = row.instance;
        let occupied = instance.slots.occupied;
        let (cause, reason, kept) = match instance.notice {
            Some(SpotNotice::Interruption) => {
                plan.drain(row, DrainCause::Notice, Reason::Interrupted { occupied });
                continue;
            }
            Some(SpotNotice::Rebalance) => (
                DrainCause::Notice,
                Reason::RebalanceAdvised { occupied },
                Reason::NotReplacedYet { occupied },
            ),
            None if row.is_old => {
                let seconds = now.duration_since(instance.launched_at).as_secs();
                (
                    DrainCause::MaxAge,
                    Reason::MaxAgeReached { seconds, occupied },
                    Reason::OldNotReplacedYet { occupied },
                )
            }
            None => continue,
        };
        let buffer = plan.of_image(&instance.image_id);
        let is_replaced = buffer.is_none_or(ImageCounts::is_covered);
        // An old instance can wait until the one before it is gone and replaced.
        let is_next = cause != DrainCause::MaxAge
            || (rows.leaving_count() == 0 && buffer.is_none_or(|it| it.starting == 0));
        if is_replaced {
            plan.drain(row, cause, reason);
        } else if may_make_room && instance.is_empty() && is_next {
            may_make_room = false;
            plan.drain(row, cause, reason);
        } else {
            plan.note(Some(&instance.id), kept);
        }
    }
}
