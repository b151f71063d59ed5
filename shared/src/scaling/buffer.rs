//! The buffer itself: enough free slots, and not a whole instance more.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use jiff::Timestamp;

use super::plan::{Action, Counts, ImageCounts, LaunchOption, Plan};
use super::reason::Reason;
use super::snapshot::Snapshot;
use crate::ids::InstanceId;
use crate::model::{Image, ImageState, Instance, InstanceStatus};
use crate::settings::{LaunchChoice, Selector};

pub(super) fn fill(
    snapshot: &Snapshot,
    down: &BTreeSet<&InstanceId>,
    now: Timestamp,
    plan: &mut Plan,
) {
    let counts = plan.counts;
    let buffers = plan.images.clone();
    let is_there = |state| buffers.iter().any(|buffer| buffer.state == state);
    if !is_there(ImageState::Current) && !is_there(ImageState::Warming) {
        plan.alert(None, Reason::NoImage);
    }
    // What one image's launches take is no room for the next one's.
    let mut bounds = Bounds {
        room: counts.max.saturating_sub(counts.live),
        step: match snapshot.settings.scale_up_step {
            0 => u32::MAX,
            step => step,
        },
    };
    for buffer in &buffers {
        let is_current = buffer.state == ImageState::Current;
        if buffer.missing() == 0 {
            if is_current {
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
        let Some((image, launch)) = launch_of(snapshot, buffer, bounds, now, plan) else {
            continue;
        };
        let Launches { wanted, options } = launch;
        if bounds.room < wanted {
            let more = wanted - bounds.room;
            make_room(snapshot, down, buffer, more, plan);
        }
        let most = LaunchOption::most(&options);
        if most == 0 {
            continue;
        }
        bounds.room = bounds.room.saturating_sub(most);
        bounds.step = bounds.step.saturating_sub(most);
        plan.push(
            Action::Launch {
                image: image.id.clone(),
                client_sha: image.client_sha.clone(),
                options,
            },
            below_target(snapshot, buffer, counts),
        );
    }
}

fn below_target(snapshot: &Snapshot, buffer: &ImageCounts, counts: Counts) -> Reason {
    match buffer.state {
        ImageState::Current => Reason::BelowTarget {
            target: counts.target,
            waiting: counts.waiting,
            free: counts.free,
            starting: counts.starting,
        },
        state => Reason::ImageBelowTarget {
            state,
            target: snapshot.settings.target_free,
            free: buffer.free,
            starting: buffer.starting,
        },
    }
}

/// How many instances may still be launched in this pass.
#[derive(Clone, Copy)]
struct Bounds {
    room: u32,
    step: u32,
}

struct Launches {
    /// So many instances of the first choice would be launched, if there were room for them.
    wanted: u32,
    options: Vec<LaunchOption>,
}

/// What would fill an image's buffer within its bounds; none, with a note, if nothing can.
fn launch_of<'s>(
    snapshot: &'s Snapshot,
    buffer: &ImageCounts,
    Bounds { room, step }: Bounds,
    now: Timestamp,
    plan: &mut Plan,
) -> Option<(&'s Image, Launches)> {
    let image = snapshot
        .images
        .iter()
        .find(|image| image.id == buffer.image)?;
    let choices = choices(snapshot, now, plan)?;
    let first = choices.first()?;
    let missing = buffer.missing();
    let wanted = missing.div_ceil(first.capacity.max(1));
    // An upgrade warms what fits, and a way back is no user's need.
    if room < wanted && buffer.state == ImageState::Current {
        let reason = Reason::AtMaximum {
            missing_slots: missing,
            live: plan.counts.live,
            max: plan.counts.max,
        };
        plan.alert(None, reason);
    }
    if step < wanted.min(room) {
        let step = snapshot.settings.scale_up_step;
        plan.note(None, Reason::StepBound { wanted, step });
    }
    let wanted = wanted.min(step);
    let count = |choice: &LaunchChoice| {
        let instances = missing.div_ceil(choice.capacity.max(1));
        instances.min(room).min(step)
    };
    let options = options(choices, count);
    Some((image, Launches { wanted, options }))
}

/// So many of each choice: the first that has room is taken.
pub(super) fn options(
    choices: Vec<LaunchChoice>,
    count: impl Fn(&LaunchChoice) -> u32,
) -> Vec<LaunchOption> {
    choices
        .into_iter()
        .map(|choice| LaunchOption {
            count: count(&choice),
            choice,
        })
        .collect()
}

/// The ways to launch that EC2 has not refused lately; none, with an alert, if there is none.
pub(super) fn choices(
    snapshot: &Snapshot,
    now: Timestamp,
    plan: &mut Plan,
) -> Option<Vec<LaunchChoice>> {
    if snapshot.settings.launch_choices.is_empty() {
        plan.alert(None, Reason::NoLaunchChoice);
        return None;
    }
    let choices = open_choices(snapshot, now);
    if choices.is_empty() {
        let refusals = snapshot.refusals.iter();
        let until = refusals.map(|refusal| refusal.until).min().unwrap_or(now);
        plan.alert(None, Reason::NoCapacity { until });
        return None;
    }
    Some(choices)
}

/// At the maximum, what only warms gives way to what users are served from. So does what is kept
/// ready for a way back, as long as that leaves it no less than the current image then has.
fn make_room(
    snapshot: &Snapshot,
    down: &BTreeSet<&InstanceId>,
    short: &ImageCounts,
    instances: u32,
    plan: &mut Plan,
) {
    let give_way: &[ImageState] = match short.state {
        ImageState::Current => &[ImageState::Warming, ImageState::Baking],
        ImageState::Baking => &[ImageState::Warming],
        ImageState::Warming | ImageState::Retired | ImageState::Failed => &[],
    };
    let leaving = plan.leaving();
    let coming = snapshot.leaving_count(plan);
    let mut needed = instances.saturating_sub(coming);
    let buffers = plan.images.clone();
    let of_state = |state| buffers.iter().filter(move |buffer| buffer.state == state);
    for buffer in give_way.iter().flat_map(|state| of_state(*state)) {
        let mut left = buffer.free;
        let mut gained = short.free + short.starting;
        for instance in snapshot.instances.values() {
            if !instance.status.is_in_service()
                || !instance.is_empty()
                || instance.image_id != buffer.image
                || leaving.contains(&instance.id)
                || down.contains(&instance.id)
            {
                continue;
            }
            left = left.saturating_sub(instance.slots.waiting);
            gained = gained.saturating_add(instance.capacity);
            let unfair = left < gained.saturating_add(coming * instance.capacity);
            if needed == 0 || (unfair && buffer.state == ImageState::Baking) {
                break;
            }
            needed -= 1;
            plan.push(
                Action::Drain {
                    instance: instance.id.clone(),
                },
                Reason::MakesRoom {
                    state: buffer.state,
                },
            );
        }
    }
}

/// The region's choices without those that EC2 refused lately. A choice that names its
/// subnets by tag stays: the actor leaves out the refused ones among them.
fn open_choices(snapshot: &Snapshot, now: Timestamp) -> Vec<LaunchChoice> {
    let refused = |choice: &LaunchChoice| match &choice.subnet {
        Selector::Id(id) => {
            let mut refusals = snapshot.refusals.iter();
            refusals.any(|refusal| refusal.covers(choice, id, now))
        }
        Selector::Tag { .. } => false,
    };
    snapshot
        .settings
        .launch_choices
        .iter()
        .filter(|choice| !refused(choice))
        .cloned()
        .collect()
}

/// Which instance to drain first: the greatest. The id last makes the order total.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Superfluous {
    not_the_current_image: bool,
    /// The oldest goes first, so that the fleet renews itself.
    older: Reverse<Timestamp>,
    id: Reverse<InstanceId>,
}

pub(super) fn shrink(
    snapshot: &Snapshot,
    down: &BTreeSet<&InstanceId>,
    now: Timestamp,
    plan: &mut Plan,
) {
    let leaving = plan.leaving();
    let candidates = || {
        snapshot
            .instances
            .values()
            .filter(|instance| !leaving.contains(&instance.id))
            .filter(|instance| !down.contains(&instance.id))
    };
    retire(snapshot, candidates(), plan);
    renew(snapshot, candidates(), now, plan);

    let current = snapshot.current_image().map(|image| &image.id);
    let mut empty: Vec<_> = candidates()
        .filter(|instance| instance.is_empty() && snapshot.is_served(instance))
        .filter(|instance| snapshot.counts_as_free(instance, down, now))
        .map(|instance| {
            let score = Superfluous {
                not_the_current_image: Some(&instance.image_id) != current,
                older: Reverse(instance.launched_at),
                id: Reverse(instance.id.clone()),
            };
            (score, instance)
        })
        .collect();
    empty.sort_by(|a, b| b.0.cmp(&a.0));

    let counts = plan.counts;
    let mut buffers = plan.images.clone();
    let mut staying = counts.live.saturating_sub(snapshot.leaving_count(plan));
    let step = match snapshot.settings.scale_down_step {
        0 => usize::MAX,
        step => step as usize,
    };
    for (_, instance) in empty.into_iter().take(step) {
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
        plan.push(
            Action::Drain {
                instance: instance.id.clone(),
            },
            reason,
        );
    }
}

/// Instances of an image that nobody is assigned to any more go as they empty.
fn retire<'a>(
    snapshot: &Snapshot,
    candidates: impl Iterator<Item = &'a Instance>,
    plan: &mut Plan,
) {
    for instance in candidates {
        if !instance.status.is_in_service() {
            continue;
        }
        match snapshot.image_state(instance) {
            Some(ImageState::Retired | ImageState::Failed) => {}
            Some(ImageState::Current | ImageState::Baking | ImageState::Warming) => continue,
            // A row that is missing is no word that the image is retired.
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
            plan.push(
                Action::Drain {
                    instance: instance.id.clone(),
                },
                reason,
            );
        } else {
            let reason = Reason::OccupiedOnOldImage {
                occupied: instance.slots.occupied,
            };
            plan.note(Some(&instance.id), reason);
        }
    }
}

/// Instances whose agent's token ends soon go when they are empty and replaced, one a pass:
/// a buffer that was filled at once must not go at once.
fn renew<'a>(
    snapshot: &Snapshot,
    candidates: impl Iterator<Item = &'a Instance>,
    now: Timestamp,
    plan: &mut Plan,
) {
    let no_room = plan.counts.live >= plan.counts.max;
    let mut drained = false;
    for instance in candidates {
        let buffer = plan.of_image(&instance.image_id);
        let replaced = buffer.is_none_or(ImageCounts::is_covered);
        let ageing = instance.status == InstanceStatus::Active
            && snapshot.is_served(instance)
            && snapshot.needs_renewal(instance, now)
            && instance.notice.is_none();
        if !ageing {
            continue;
        }
        let hours = now.duration_since(instance.launched_at).as_hours();
        let reason = Reason::TokenEnds {
            hours,
            occupied: instance.slots.occupied,
        };
        if !instance.is_empty() {
            plan.alert(Some(&instance.id), reason);
        } else if (replaced || no_room) && !drained {
            drained = true;
            plan.push(
                Action::Drain {
                    instance: instance.id.clone(),
                },
                reason,
            );
        }
    }
}
