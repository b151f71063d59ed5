//! The buffer itself: enough free slots, and not a whole instance more.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Action, LaunchOption, Plan, Reason, Snapshot};
use crate::ids::InstanceId;
use crate::model::{ImageState, Instance, InstanceStatus, LaunchChoice, Selector};

pub(super) fn fill(snapshot: &Snapshot, now: Timestamp, plan: &mut Plan) {
    let figures = plan.figures;
    let demand = figures.target.saturating_add(figures.waiting);
    let missing = demand.saturating_sub(figures.free.saturating_add(figures.starting));
    if missing == 0 {
        plan.note(
            None,
            Reason::BufferFull {
                target: figures.target,
                free: figures.free,
                starting: figures.starting,
            },
        );
        return;
    }
    let Some(image) = snapshot.current_image() else {
        return plan.alert(None, Reason::NoImage);
    };
    if snapshot.settings.launch_choices.is_empty() {
        return plan.alert(None, Reason::NoLaunchChoice);
    }
    let choices = open_choices(snapshot, now);
    let Some(first) = choices.first() else {
        let until = snapshot
            .refusals
            .iter()
            .map(|r| r.until)
            .min()
            .unwrap_or(now);
        return plan.alert(None, Reason::NoCapacity { until });
    };
    let room = figures.max.saturating_sub(figures.live);
    let step = match snapshot.settings.scale_up_step {
        0 => u32::MAX,
        step => step,
    };
    let wanted = missing.div_ceil(first.capacity.max(1));
    if room < wanted {
        let reason = Reason::AtMaximum {
            missing_slots: missing,
            live: figures.live,
            max: figures.max,
        };
        plan.alert(None, reason);
    }
    if step < wanted.min(room) {
        plan.note(None, Reason::StepBound { wanted, step });
    }
    if room == 0 {
        return;
    }
    let options = choices
        .into_iter()
        .map(|choice| {
            let count = missing.div_ceil(choice.capacity.max(1)).min(room).min(step);
            LaunchOption { count, choice }
        })
        .collect();
    plan.push(
        Action::Launch {
            image: image.id.clone(),
            client_sha: image.client_sha.clone(),
            options,
        },
        Reason::BelowTarget {
            target: figures.target,
            waiting: figures.waiting,
            free: figures.free,
            starting: figures.starting,
        },
    );
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
        .filter(|instance| instance.status == InstanceStatus::Active && instance.is_empty())
        .filter(|instance| snapshot.is_served(instance) && !snapshot.is_ageing(instance, now))
        .filter(|instance| instance.notice.is_none())
        .filter(|instance| snapshot.silence(instance, now) < snapshot.settings.waits.heartbeat)
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

    let figures = plan.figures;
    let demand = figures.target.saturating_add(figures.waiting);
    let mut free = figures.free;
    // What is on its way out already will make room by itself.
    let on_their_way = snapshot
        .instances
        .values()
        .filter(|i| {
            matches!(
                i.status,
                InstanceStatus::Draining | InstanceStatus::Terminating
            ) || leaving.contains(&i.id)
        })
        .count();
    let mut staying = figures
        .live
        .saturating_sub(u32::try_from(on_their_way).unwrap_or(u32::MAX));
    let step = match snapshot.settings.scale_down_step {
        0 => usize::MAX,
        step => step as usize,
    };
    for (_, instance) in empty.into_iter().take(step) {
        let reason = if free >= demand.saturating_add(instance.capacity) {
            Reason::Surplus {
                target: figures.target,
                free,
            }
        } else if staying > figures.max {
            Reason::OverMaximum {
                live: staying,
                max: figures.max,
            }
        } else {
            continue;
        };
        free = free.saturating_sub(instance.slots.waiting);
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
        let in_service = matches!(
            instance.status,
            InstanceStatus::Active | InstanceStatus::PreConnection
        );
        if !in_service {
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
    let figures = plan.figures;
    let replaced = figures.free >= figures.target.saturating_add(figures.waiting);
    let no_room = figures.live >= figures.max;
    let mut drained = false;
    for instance in candidates {
        let ageing = instance.status == InstanceStatus::Active
            && snapshot.is_served(instance)
            && snapshot.is_ageing(instance, now)
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
