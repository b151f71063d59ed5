//! Draining what the buffers do not need: instances of retired images, instances whose agent's
//! token ends soon, and surplus.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::ids::InstanceId;
use crate::model::{ImageState, Instance, InstanceStatus};
use crate::scaling::plan::{Action, ImageCounts, Plan};
use crate::scaling::reason::Reason;
use crate::scaling::snapshot::Snapshot;

/// Drains only empty instances, and none that the plan ends already.
pub(in crate::scaling) fn shrink(
    snapshot: &Snapshot,
    down: &BTreeSet<&InstanceId>,
    now: Timestamp,
    plan: &mut Plan,
) {
    let leaving = plan.leaving();
    let candidates: Vec<_> = snapshot
        .instances
        .values()
        .filter(|instance| !leaving.contains(&instance.id) && !down.contains(&instance.id))
        .collect();
    drain_retired(snapshot, &candidates, plan);
    drain_expiring(snapshot, &candidates, now, plan);
    drain_surplus(snapshot, &candidates, down, now, plan);
}

/// Drains instances of retired and failed images as they become empty.
fn drain_retired(snapshot: &Snapshot, candidates: &[&Instance], plan: &mut Plan) {
    for instance in candidates {
        if !instance.status.is_in_service() {
            continue;
        }
        match snapshot.image_state(instance) {
            Some(ImageState::Retired | ImageState::Failed) => {}
            Some(ImageState::Current | ImageState::Baking | ImageState::Warming) => continue,
            // That the image has no row does not mean that it is retired.
            None => {
                let reason = Reason::ImageUnknown {
                    image: instance.image_id.clone(),
                };
                plan.alert(Some(&instance.id), reason);
                continue;
            }
        }
        if instance.is_empty() {
            let reason = Reason::ImageNotServed {
                image: instance.image_id.clone(),
            };
            drain(instance, reason, plan);
        } else {
            let reason = Reason::OccupiedOnOldImage {
                occupied: instance.slots.occupied,
            };
            plan.note(Some(&instance.id), reason);
        }
    }
}

/// Drains an instance whose agent's token ends soon once it is empty and replaced. One per pass: a
/// buffer that was filled at once must not leave at once.
fn drain_expiring(snapshot: &Snapshot, candidates: &[&Instance], now: Timestamp, plan: &mut Plan) {
    // At the maximum, no replacement can be launched beside it.
    let no_room = plan.counts.live >= plan.counts.max;
    let mut drained = false;
    for instance in candidates {
        let is_expiring = instance.status == InstanceStatus::Active
            && snapshot.is_served(instance)
            && snapshot.needs_renewal(instance, now)
            && instance.notice.is_none();
        if !is_expiring {
            continue;
        }
        let hours = now.duration_since(instance.launched_at).as_hours();
        let reason = Reason::TokenEnds {
            hours,
            occupied: instance.slots.occupied,
        };
        let buffer = plan.of_image(&instance.image_id);
        let replaced = buffer.is_none_or(ImageCounts::is_covered);
        if !instance.is_empty() {
            plan.alert(Some(&instance.id), reason);
        } else if (replaced || no_room) && !drained {
            drained = true;
            drain(instance, reason, plan);
        }
    }
}

/// Drains empty instances that exceed their image's target by a whole instance, and those that
/// exceed the region's maximum. At most `scale_down_step` per pass.
fn drain_surplus(
    snapshot: &Snapshot,
    candidates: &[&Instance],
    down: &BTreeSet<&InstanceId>,
    now: Timestamp,
    plan: &mut Plan,
) {
    let current = snapshot.current_image().map(|image| &image.id);
    let mut empty: Vec<_> = candidates
        .iter()
        .filter(|instance| instance.is_empty() && snapshot.is_served(instance))
        .filter(|instance| snapshot.counts_as_free(instance, down, now))
        .map(|instance| {
            let rank = SurplusRank {
                is_not_current_image: Some(&instance.image_id) != current,
                older: Reverse(instance.launched_at),
                id: Reverse(instance.id.clone()),
            };
            (rank, *instance)
        })
        .collect();
    empty.sort_by(|a, b| b.0.cmp(&a.0));

    let counts = plan.counts;
    let mut buffers = plan.images.clone();
    let mut staying = counts.live.saturating_sub(snapshot.leaving_count(plan));
    let mut drains_left = match snapshot.settings.scale_down_step {
        0 => u32::MAX,
        step => step,
    };
    for (_, instance) in empty {
        if drains_left == 0 {
            break;
        }
        let Some(buffer) = buffers
            .iter_mut()
            .find(|buffer| buffer.image == instance.image_id)
        else {
            continue;
        };
        let reason = if buffer.free >= buffer.demand.saturating_add(instance.capacity) {
            Reason::Surplus {
                target: counts.target,
                free: buffer.free,
            }
        } else if staying > counts.max {
            Reason::OverMaximum {
                live: staying,
                max: counts.max,
            }
        } else {
            continue;
        };
        buffer.free = buffer.free.saturating_sub(instance.slots.waiting);
        staying = staying.saturating_sub(1);
        // Only drains count: an instance that stays must not use up the step of one that leaves.
        drains_left -= 1;
        drain(instance, reason, plan);
    }
}

/// The order of draining: the greatest first. The fields are the criteria by priority; the id last
/// makes the order total.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct SurplusRank {
    is_not_current_image: bool,
    /// The oldest first, so that the instances are renewed over time.
    older: Reverse<Timestamp>,
    id: Reverse<InstanceId>,
}

fn drain(instance: &Instance, reason: Reason, plan: &mut Plan) {
    let action = Action::Drain {
        instance: instance.id.clone(),
    };
    plan.push(action, reason);
}
