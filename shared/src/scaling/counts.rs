//! What `default` and `adaptive` count before they decide: the buffer of each image, and the
//! region's totals.

use jiff::Timestamp;

use super::plan::{Counts, ImageCounts};
use super::rows::Rows;
use super::snapshot::Snapshot;
use super::target::Target;
use crate::model::ImageState;

/// The region's totals. `free` and `starting` are those of the current image.
pub(super) fn count_region(
    snapshot: &Snapshot,
    rows: &Rows<'_>,
    images: &[ImageCounts],
    target: &Target<'_>,
) -> Counts {
    let current = images
        .iter()
        .find(|image| image.state == ImageState::Current);
    Counts {
        target: target.slots,
        waiting: waiting(snapshot),
        free: current.map_or(0, |image| image.free),
        starting: current.map_or(0, |image| image.starting),
        occupied: rows.iter().map(|row| row.slots.occupied).sum(),
        live: snapshot.live_with(rows.strays()),
        max: snapshot.max_instances(),
    }
}

/// The buffer of each image that has one, in the order in which they are filled.
pub(super) fn count_images(
    snapshot: &Snapshot,
    rows: &Rows<'_>,
    target: &Target<'_>,
    now: Timestamp,
) -> Vec<ImageCounts> {
    let mut images = empty_buffers(snapshot, target);
    for row in rows.iter() {
        let mut buffers = images.iter_mut();
        let buffer = buffers.find(|counts| row.image_id() == Some(&counts.image));
        let Some(buffer) = buffer else { continue };
        // An instance that EC2 is about to take has to be replaced: it is neither.
        if row.is_free {
            buffer.free += row.slots.waiting;
        } else if row.is_starting() && !snapshot.never_came_up(row.instance, now) {
            buffer.starting += row.instance.capacity;
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

/// Each image's demand, with nothing counted yet.
fn empty_buffers(snapshot: &Snapshot, target: &Target<'_>) -> Vec<ImageCounts> {
    let mut images: Vec<_> = snapshot
        .images
        .iter()
        .filter(|image| image.state.has_buffer())
        .map(|image| {
            // Users of other hashes are not in `waiting`: their images are filled to the target only.
            let waiting = match image.state {
                ImageState::Current => waiting(snapshot),
                _ => 0,
            };
            ImageCounts {
                image: image.id.clone(),
                client_sha: image.client_sha.clone(),
                state: image.state,
                demand: target.slots.saturating_add(waiting),
                free: 0,
                starting: 0,
            }
        })
        .collect();
    images.sort_by_key(|counts| (fill_order(counts.state), counts.image.clone()));
    images
}

fn waiting(snapshot: &Snapshot) -> u32 {
    if snapshot.settings.enabled {
        snapshot.waiting
    } else {
        0
    }
}

/// The current image's users come first, then those who are still on the image before it, then
/// the upgrade.
fn fill_order(state: ImageState) -> u8 {
    match state {
        ImageState::Current => 0,
        ImageState::Baking => 1,
        ImageState::Warming | ImageState::Retired | ImageState::Failed => 2,
    }
}
