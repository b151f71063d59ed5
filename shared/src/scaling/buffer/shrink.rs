//! Draining what the buffers do not need: instances of retired images, and surplus.

use std::cmp::Reverse;

use jiff::Timestamp;

use crate::ids::InstanceId;
use crate::model::{DrainCause, ImageState};
use crate::scaling::plan::{Counts, ImageCounts, Plan};
use crate::scaling::reason::Reason;
use crate::scaling::rows::{Row, Rows};
use crate::scaling::snapshot::Snapshot;

/// Drains only empty instances but for those on retired images, and none that the plan ends already.
pub(in crate::scaling) fn shrink(snapshot: &Snapshot, rows: &Rows<'_>, plan: &mut Plan) {
    drain_retired(snapshot, rows, plan);
    drain_surplus(snapshot, rows, plan);
}

/// Drains instances of retired and failed images as they become empty. Where drains have a deadline, at
/// once: it ends their sessions. They get no users in any case.
fn drain_retired(snapshot: &Snapshot, rows: &Rows<'_>, plan: &mut Plan) {
    let has_deadline = snapshot.settings.endings.drain_deadline.is_some();
    for row in rows.iter() {
        let state = row.image_state();
        let instance = row.instance;
        if state.is_some_and(ImageState::has_buffer)
            || !row.stays()
            || !instance.status.is_in_service()
        {
            continue;
        }
        let image = instance.image_id.clone();
        if state.is_none() {
            // That the image has no row does not mean that it is retired.
            plan.alert(Some(&instance.id), Reason::ImageUnknown { image });
        } else if instance.is_empty() || has_deadline {
            plan.drain(row, DrainCause::Image, Reason::ImageNotServed { image });
        } else {
            let reason = Reason::OccupiedOnOldImage {
                occupied: instance.slots.occupied,
            };
            plan.note(Some(&instance.id), reason);
        }
    }
}

/// Drains empty instances without which their image still has its target, and those that exceed the
/// region's maximum. At most `scale_down_step` per pass.
fn drain_surplus(snapshot: &Snapshot, rows: &Rows<'_>, plan: &mut Plan) {
    let current = snapshot.current_image().map(|image| &image.id);
    let mut left = Left {
        buffers: plan.images.clone(),
        live: plan.counts.live.saturating_sub(rows.leaving_count()),
    };
    let counts = plan.counts;
    // Drains only lower what is left: an instance without a cause now does not get one later.
    let mut candidates: Vec<_> = rows
        .iter()
        .filter(|row| row.is_free && row.slots.occupied == 0 && row.is_served())
        .filter(|row| !row.is_ended() && left.cause_to_drain(row, counts).is_some())
        .collect();
    candidates.sort_by_cached_key(|row| {
        Reverse(SurplusRank {
            is_not_current_image: row.image_id() != current,
            older: Reverse(row.instance.launched_at),
            id: Reverse(&row.instance.id),
        })
    });
    let step = snapshot.settings.drain_step();
    let most = step.map_or(usize::MAX, |step| step as usize);
    let mut drained = 0;
    for row in candidates {
        // Only drains count: an instance that stays must not use up the step of one that leaves.
        if drained == most {
            break;
        }
        if let Some((cause, reason)) = left.cause_to_drain(row, counts) {
            left.subtract(row);
            drained += 1;
            plan.drain(row, cause, reason);
        }
    }
}

/// What is left of the region after the drains so far.
struct Left {
    buffers: Vec<ImageCounts>,
    live: u32,
}

impl Left {
    fn cause_to_drain(&self, row: &Row<'_>, counts: Counts) -> Option<(DrainCause, Reason)> {
        let mut buffers = self.buffers.iter();
        let buffer = buffers.find(|buffer| row.image_id() == Some(&buffer.image))?;
        // Its capacity is not asked for: an instance may lack slots, and would be kept for none.
        if buffer.free >= buffer.demand.saturating_add(row.slots.waiting) {
            let reason = Reason::Surplus {
                target: counts.target,
                free: buffer.free,
            };
            Some((DrainCause::Surplus, reason))
        } else if self.live > counts.max {
            let reason = Reason::OverMaximum {
                live: self.live,
                max: counts.max,
            };
            Some((DrainCause::Maximum, reason))
        } else {
            None
        }
    }

    fn subtract(&mut self, row: &Row<'_>) {
        let mut buffers = self.buffers.iter_mut();
        if let Some(buffer) = buffers.find(|buffer| row.image_id() == Some(&buffer.image)) {
            buffer.free = buffer.free.saturating_sub(row.slots.waiting);
        }
        self.live = self.live.saturating_sub(1);
    }
}

/// The order of draining: the greatest first. The fields are the criteria by priority; the id last
/// makes the order total.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct SurplusRank<'s> {
    is_not_current_image: bool,
    /// The oldest first, so that the instances are renewed over time.
    older: Reverse<Timestamp>,
    id: Reverse<&'s InstanceId>,
}
