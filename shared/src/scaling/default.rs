//! Whist's algorithm: a buffer of free slots, nothing occupied ever touched.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::algorithm::{Fleet, ScalingAlgorithm};
use super::plan::{Action, Counts, ImageCounts, Plan};
use super::reason::Reason;
use super::snapshot::Snapshot;
use super::{buffer, drift, intents, lifecycle, spot, upgrade};
use crate::ids::InstanceId;
use crate::model::{ImageState, InstanceStatus};

#[derive(Debug)]
pub(super) struct Default;

impl ScalingAlgorithm for Default {
    fn name(&self) -> &'static str {
        "default"
    }

    fn decide(&self, snapshot: &Snapshot, now: Timestamp) -> Plan {
        let down = snapshot.down();
        let images = buffers(snapshot, &down, now);
        let mut plan = Plan {
            counts: counts(snapshot, &images),
            images,
            ..Plan::default()
        };
        if snapshot.settings.paused {
            plan.note(None, Reason::Paused);
            return plan;
        }
        intents::resume(snapshot, now, &mut plan);
        drift::detect_drift(snapshot, now, &mut plan);
        lifecycle::finish(snapshot, &down, now, &mut plan);
        release_unclaimed(snapshot, &mut plan);
        let removed = plan.removed_rows();
        plan.counts.live -= removed;
        spot::leave(snapshot, &down, &mut plan);
        let moved = upgrade::advance(snapshot, &down, now, &mut plan);
        // The pass looks again at once after a move: each image's buffer depends on it.
        if !moved {
            buffer::fill(snapshot, &down, now, &mut plan);
            buffer::shrink(snapshot, &down, now, &mut plan);
        }
        plan
    }

    fn fleet(&self) -> Fleet {
        Fleet::Instances
    }

    /// Every instance has a row: none is deleted without one.
    fn may_delete_replica(&self, _: &Snapshot, _: &InstanceId, _: Timestamp) -> bool {
        false
    }
}

impl Plan {
    fn removed_rows(&self) -> u32 {
        let removed = self
            .steps
            .iter()
            .filter(|step| matches!(step.action, Action::Remove { .. }))
            .count();
        u32::try_from(removed).unwrap_or(u32::MAX)
    }
}

fn counts(snapshot: &Snapshot, images: &[ImageCounts]) -> Counts {
    let current = images
        .iter()
        .find(|image| image.state == ImageState::Current);
    Counts {
        target: target(snapshot),
        waiting: waiting(snapshot),
        free: current.map_or(0, |image| image.free),
        starting: current.map_or(0, |image| image.starting),
        occupied: snapshot
            .instances
            .values()
            .map(|instance| instance.slots.occupied)
            .sum(),
        live: snapshot.live(),
        max: snapshot.max_instances(),
    }
}

/// A disabled region takes no users: it needs no buffer.
fn target(snapshot: &Snapshot) -> u32 {
    let settings = &snapshot.settings;
    if settings.enabled {
        settings.target_free
    } else {
        0
    }
}

fn waiting(snapshot: &Snapshot) -> u32 {
    if snapshot.settings.enabled {
        snapshot.waiting
    } else {
        0
    }
}

/// The buffer of each image, in the order in which they are filled.
fn buffers(snapshot: &Snapshot, down: &BTreeSet<&InstanceId>, now: Timestamp) -> Vec<ImageCounts> {
    let mut images: Vec<_> = snapshot
        .images
        .iter()
        .filter(|image| image.state.has_buffer())
        .map(|image| {
            // Who waits is taken for a client of the current image.
            let waiting = match image.state {
                ImageState::Current => waiting(snapshot),
                _ => 0,
            };
            ImageCounts {
                image: image.id.clone(),
                client_sha: image.client_sha.clone(),
                state: image.state,
                demand: target(snapshot).saturating_add(waiting),
                free: 0,
                starting: 0,
            }
        })
        .collect();
    images.sort_by(|a, b| (order(a.state), &a.image).cmp(&(order(b.state), &b.image)));
    for instance in snapshot.instances.values() {
        let buffer = images
            .iter_mut()
            .find(|counts| counts.image == instance.image_id);
        // What EC2 is about to take has to be replaced, not counted on.
        let Some(buffer) =
            buffer.filter(|_| !down.contains(&instance.id) && instance.notice.is_none())
        else {
            continue;
        };
        match instance.status {
            InstanceStatus::Active if snapshot.counts_as_free(instance, down, now) => {
                buffer.free += instance.slots.waiting;
            }
            InstanceStatus::PreConnection if !lifecycle::never_came_up(snapshot, instance, now) => {
                buffer.starting += instance.capacity;
            }
            _ => {}
        }
    }
    for intent in &snapshot.open_intents {
        let buffer = images
            .iter_mut()
            .find(|counts| counts.image == intent.request.image_id);
        if let Some(buffer) = buffer.filter(|_| intent.is_resumable(now)) {
            buffer.starting += snapshot.unrecorded_count(intent) * intent.request.capacity;
        }
    }
    images
}

/// Users come first, then those who are still on the image before, then the upgrade.
fn order(state: ImageState) -> u8 {
    match state {
        ImageState::Current => 0,
        ImageState::Baking => 1,
        ImageState::Warming | ImageState::Retired | ImageState::Failed => 2,
    }
}

fn release_unclaimed(snapshot: &Snapshot, plan: &mut Plan) {
    let slots = snapshot
        .instances
        .values()
        .map(|instance| instance.slots.unclaimed)
        .sum();
    if slots > 0 {
        plan.push(Action::ReleaseUnclaimed { slots }, Reason::NotClaimed);
    }
}
