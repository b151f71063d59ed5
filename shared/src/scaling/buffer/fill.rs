//! Launching what the buffers miss, within the region's maximum and its step.

use jiff::Timestamp;

use crate::model::{DrainCause, Image, ImageState};
use crate::scaling::budget;
use crate::scaling::launch_options::{self, options_of, usable_choices};
use crate::scaling::plan::{Action, Counts, ImageCounts, LaunchOption, Plan};
use crate::scaling::reason::Reason;
use crate::scaling::rows::{Row, Rows};
use crate::scaling::snapshot::Snapshot;
use crate::settings::LaunchChoice;

/// Adds a launch for each image whose buffer is short, in the order of `plan.images`. At the
/// maximum, instances of images with less priority are drained to make room.
pub(in crate::scaling) fn fill(
    snapshot: &Snapshot,
    rows: &Rows<'_>,
    now: Timestamp,
    plan: &mut Plan,
) {
    reopen(snapshot, rows, now, plan);
    let counts = plan.counts;
    let buffers = plan.images.clone();
    // Shared by all images: what one image's launches take is not left for the next one's.
    let mut bounds = Bounds {
        room: counts.max.saturating_sub(counts.live),
        step: snapshot.settings.launch_step().unwrap_or(u32::MAX),
        hour: launch_options::left_of_hour(snapshot, now),
    };
    for buffer in &buffers {
        if buffer.missing() == 0 {
            if buffer.state == ImageState::Current {
                plan.note(
                    None,
                    Reason::BufferFull {
                        target: counts.target,
                        free: counts.free,
                        starting: counts.starting,
                    },
                );
            }
            continue;
        }
        if let Some(reason) = budget::why_held(snapshot, buffer.missing()) {
            // Only the current image's shortage concerns users.
            if buffer.state == ImageState::Current {
                plan.alert(None, reason);
            } else {
                plan.note(None, reason);
            }
            continue;
        }
        let Some((image, launch)) = size_launch(snapshot, buffer, bounds, now, plan) else {
            continue;
        };
        let Launch { needed, options } = launch;
        if bounds.room < needed {
            make_room(rows, buffer, needed - bounds.room, plan);
        }
        let most = LaunchOption::most(&options);
        if most == 0 {
            continue;
        }
        bounds.room = bounds.room.saturating_sub(most);
        bounds.step = bounds.step.saturating_sub(most);
        bounds.hour = bounds.hour.saturating_sub(most);
        plan.push(
            Action::Launch {
                image: image.id.clone(),
                client_sha: image.client_sha.clone(),
                options,
            },
            launch_reason(buffer, counts),
        );
    }
}

/// Takes drains for surplus back as long as the buffer of their image is short: it is quicker than
/// a launch, and costs nothing.
fn reopen(snapshot: &Snapshot, rows: &Rows<'_>, now: Timestamp, plan: &mut Plan) {
    for row in rows.unusual() {
        let instance = row.instance;
        if row.is_ended() || !snapshot.is_reopenable(instance, now) {
            continue;
        }
        let mut buffers = plan.images.iter_mut();
        let Some(buffer) = buffers.find(|buffer| row.image_id() == Some(&buffer.image)) else {
            continue;
        };
        let missing = buffer.missing();
        if missing == 0 {
            continue;
        }
        buffer.free = buffer.free.saturating_add(instance.slots.waiting);
        if buffer.state == ImageState::Current {
            plan.counts.free = buffer.free;
        }
        plan.push(
            Action::Reopen {
                instance: instance.id.clone(),
            },
            Reason::NeededAgain { missing },
        );
    }
}

fn launch_reason(buffer: &ImageCounts, counts: Counts) -> Reason {
    match buffer.state {
        ImageState::Current => Reason::BelowTarget {
            target: counts.target,
            waiting: counts.waiting,
            free: counts.free,
            starting: counts.starting,
        },
        state => Reason::ImageBelowTarget {
            state,
            target: counts.target,
            free: buffer.free,
            starting: buffer.starting,
        },
    }
}

/// How many instances may still be launched in this pass.
#[derive(Clone, Copy)]
struct Bounds {
    /// Below the region's maximum.
    room: u32,
    /// Within `scale_up_step`.
    step: u32,
    /// Within `launches_per_hour`.
    hour: u32,
}

struct Launch {
    /// Instances of the first choice that would be launched within the step if there were room.
    needed: u32,
    options: Vec<LaunchOption>,
}

/// The launch that fills an image's buffer within the bounds. Adds notes about what the bounds keep
/// from being launched. None if there is nothing to launch from.
fn size_launch<'s>(
    snapshot: &'s Snapshot,
    buffer: &ImageCounts,
    Bounds { room, step, hour }: Bounds,
    now: Timestamp,
    plan: &mut Plan,
) -> Option<(&'s Image, Launch)> {
    let image = snapshot
        .images
        .iter()
        .find(|image| image.id == buffer.image)?;
    let choices = usable_choices(snapshot, &image.id, now, plan)?;
    let first = choices.first()?;
    let missing = buffer.missing();
    let needed = missing.div_ceil(first.capacity.max(1));
    // Only the current image's shortage concerns users: a warming image warms what fits, and a
    // baking one is kept for a rollback.
    if room < needed && buffer.state == ImageState::Current {
        let reason = Reason::AtMaximum {
            missing_slots: missing,
            live: plan.counts.live,
            max: plan.counts.max,
        };
        plan.alert(None, reason);
    }
    if step < needed.min(room) {
        let reason = Reason::StepBound {
            wanted: needed,
            step: snapshot.settings.scale_up_step,
        };
        plan.note(None, reason);
    }
    if hour < needed.min(room).min(step) {
        launch_options::alert_limit(snapshot, now, plan);
    }
    let count = |choice: &LaunchChoice| {
        let instances = missing.div_ceil(choice.capacity.max(1));
        instances.min(room).min(step).min(hour)
    };
    let options = options_of(choices, count);
    let needed = needed.min(step).min(hour);
    Some((image, Launch { needed, options }))
}

/// Drains up to `instances` empty instances of images with less priority than the one that is
/// short. A warming image gives way to every image that serves users. A baking image gives way to
/// the current one as long as it keeps no fewer free slots than the current one then has.
fn make_room(rows: &Rows<'_>, short: &ImageCounts, instances: u32, plan: &mut Plan) {
    let giving_way: &[ImageState] = match short.state {
        ImageState::Current => &[ImageState::Warming, ImageState::Baking],
        ImageState::Baking => &[ImageState::Warming],
        ImageState::Warming | ImageState::Retired | ImageState::Failed => &[],
    };
    let is_drainable = |row: &&Row<'_>| {
        row.instance.status.is_in_service() && row.instance.is_empty() && row.stays()
    };
    // Instances that leave anyway make room, too.
    let leaving_count = rows.leaving_count();
    let mut needed = instances.saturating_sub(leaving_count);
    let buffers = plan.images.clone();
    let in_state = |state| buffers.iter().filter(move |buffer| buffer.state == state);
    for buffer in giving_way.iter().flat_map(|state| in_state(*state)) {
        // The free slots that each of the two images then has.
        let mut left = buffer.free;
        let mut gained = short.free + short.starting;
        for row in rows.of_image(&buffer.image).filter(is_drainable) {
            let instance = row.instance;
            left = left.saturating_sub(instance.slots.waiting);
            gained = gained.saturating_add(instance.capacity);
            let is_unfair = left < gained.saturating_add(leaving_count * instance.capacity);
            if needed == 0 || (is_unfair && buffer.state == ImageState::Baking) {
                break;
            }
            needed -= 1;
            let state = buffer.state;
            plan.drain(row, DrainCause::Room, Reason::MakesRoom { state });
        }
    }
}
