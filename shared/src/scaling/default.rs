//! Whist's algorithm: a buffer of free slots, nothing occupied ever touched.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::plan::{Figures, ImageFigures};
use super::{
    Action, Plan, Reason, ScalingAlgorithm, Snapshot, buffer, launches, leaving, notices, upgrade,
    verify,
};
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
            figures: figures(snapshot, &images),
            images,
            ..Plan::default()
        };
        if snapshot.settings.paused {
            plan.note(None, Reason::Paused);
            return plan;
        }
        launches::resume(snapshot, now, &mut plan);
        verify::compare_with_ec2(snapshot, now, &mut plan);
        leaving::finish(snapshot, &down, now, &mut plan);
        release_unclaimed(snapshot, &mut plan);
        let removed = plan.removed_rows();
        plan.figures.live -= removed;
        notices::leave(snapshot, &down, &mut plan);
        let moved = upgrade::advance(snapshot, &down, now, &mut plan);
        // The pass looks again at once after a move: each image's buffer depends on it.
        if !moved {
            buffer::fill(snapshot, &down, now, &mut plan);
            buffer::shrink(snapshot, &down, now, &mut plan);
        }
        plan
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

fn figures(snapshot: &Snapshot, images: &[ImageFigures]) -> Figures {
    let current = images
        .iter()
        .find(|image| image.state == ImageState::Current);
    Figures {
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
fn buffers(snapshot: &Snapshot, down: &BTreeSet<&InstanceId>, now: Timestamp) -> Vec<ImageFigures> {
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
            ImageFigures {
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
            .find(|figures| figures.image == instance.image_id);
        // What EC2 is about to take has to be replaced, not counted on.
        let Some(buffer) =
            buffer.filter(|_| !down.contains(&instance.id) && instance.notice.is_none())
        else {
            continue;
        };
        match instance.status {
            InstanceStatus::Active if snapshot.is_counted_on(instance, down, now) => {
                buffer.free += instance.slots.waiting;
            }
            InstanceStatus::PreConnection if !leaving::never_came_up(snapshot, instance, now) => {
                buffer.starting += instance.capacity;
            }
            _ => {}
        }
    }
    for intent in &snapshot.open_intents {
        let buffer = images
            .iter_mut()
            .find(|figures| figures.image == intent.request.image_id);
        if let Some(buffer) = buffer.filter(|_| intent.is_resumable(now)) {
            buffer.starting += snapshot.uncovered(intent) * intent.request.capacity;
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
