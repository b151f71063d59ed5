//! How an image comes into service and leaves it: warmed beside the current one, swapped when it
//! is warm and the app version names it, and the one before kept ready for a way back.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::lifecycle;
use super::plan::{Action, ImageCounts, Plan};
use super::reason::Reason;
use super::snapshot::Snapshot;
use crate::ids::{ClientSha, InstanceId};
use crate::model::{Image, ImageState, Instance, InstanceStatus};

/// True when an image is moved: what is left to decide is decided on what that leaves.
pub(super) fn advance(
    snapshot: &Snapshot,
    down: &BTreeSet<&InstanceId>,
    now: Timestamp,
    plan: &mut Plan,
) -> bool {
    let (mut moved, mut swapped) = (false, false);
    for counts in plan.images.clone() {
        let Some(image) = snapshot.images.iter().find(|i| i.id == counts.image) else {
            continue;
        };
        let next = match image.state {
            ImageState::Warming => warming(snapshot, down, image, &counts, now, plan),
            ImageState::Baking => baking(snapshot, image, now, plan),
            ImageState::Current | ImageState::Retired | ImageState::Failed => None,
        };
        let Some((to, reason)) = next else { continue };
        // One a pass: the next one is decided on what this one left.
        if to == ImageState::Current && std::mem::replace(&mut swapped, true) {
            continue;
        }
        moved = true;
        if to == ImageState::Failed {
            plan.alert(None, reason.clone());
        }
        plan.push(
            Action::MoveImage {
                image: image.id.clone(),
                from: image.state,
                to,
            },
            reason,
        );
    }
    for image in &snapshot.images {
        if image.state == ImageState::Retired {
            report_users(snapshot, image, now, plan);
        }
    }
    moved
}

/// Whether the app version of this environment asks for the image's clients.
fn is_named(snapshot: &Snapshot, client_sha: &ClientSha) -> bool {
    snapshot.app_sha.as_ref() == Some(client_sha)
}

fn warming(
    snapshot: &Snapshot,
    down: &BTreeSet<&InstanceId>,
    image: &Image,
    counts: &ImageCounts,
    now: Timestamp,
    plan: &mut Plan,
) -> Option<(ImageState, Reason)> {
    let upgrades = &snapshot.settings.upgrades;
    let fleet = Fleet::of(snapshot, down, image, now);
    let ImageCounts {
        free,
        demand,
        starting,
        ..
    } = *counts;
    if snapshot.current_image().is_none() && (fleet.healthy > 0 || demand == 0) {
        return Some((ImageState::Current, Reason::FirstImage));
    }
    if let Some(instance) = fleet.failing() {
        let instance = instance.id.clone();
        return Some((ImageState::Failed, Reason::UpgradeDying { instance }));
    }
    let (live, max) = (plan.counts.live, plan.counts.max);
    // What is on its way out will make room by itself.
    let full = live >= max && snapshot.leaving_count(plan) == 0;
    // Without room for all of it, what fits is all that will be warm.
    let warm = free >= demand || (full && starting == 0 && fleet.healthy > 0);
    let named = is_named(snapshot, &image.client_sha);
    if warm && (named || upgrades.swap_when_warm) && snapshot.current_image().is_some() {
        return Some((ImageState::Current, Reason::Warm { free, named }));
    }
    let seconds = now.duration_since(image.since).as_secs();
    if seconds >= upgrades.deadline.as_secs() {
        let reason = if warm {
            Reason::UpgradeNotNamed {
                seconds,
                client_sha: image.client_sha.clone(),
            }
        } else {
            Reason::UpgradeTooLate {
                seconds,
                free,
                demand,
            }
        };
        return Some((ImageState::Failed, reason));
    }
    if full && fleet.is_empty && demand > 0 {
        return Some((ImageState::Failed, Reason::NoRoomForUpgrade { live, max }));
    }
    let image_id = image.id.clone();
    plan.note(
        None,
        if warm {
            Reason::AwaitsAppVersion {
                image: image_id,
                client_sha: image.client_sha.clone(),
            }
        } else {
            Reason::StillWarming {
                image: image_id,
                free,
                demand,
                starting,
            }
        },
    );
    None
}

/// The instances of an image that warms.
#[derive(Default)]
struct Fleet<'s> {
    /// Neither rows nor an open launch.
    is_empty: bool,
    healthy: u32,
    /// Still within their boot time.
    booting: u32,
    /// One that had its whole boot time and did not come up.
    never_came_up: Option<&'s Instance>,
    /// One that EC2 took down, or whose agent fell silent for good.
    died: Option<&'s Instance>,
}

impl<'s> Fleet<'s> {
    fn of(
        snapshot: &'s Snapshot,
        down: &BTreeSet<&InstanceId>,
        image: &Image,
        now: Timestamp,
    ) -> Self {
        let mut fleet = Self {
            is_empty: !snapshot
                .open_intents
                .iter()
                .any(|intent| intent.request.image_id == image.id),
            ..Self::default()
        };
        let own = snapshot
            .instances
            .values()
            .filter(|instance| instance.image_id == image.id);
        for instance in own {
            fleet.is_empty = false;
            // What EC2 announced to take is no fault of the image.
            if instance.notice.is_some() {
                continue;
            }
            let is_dead =
                down.contains(&instance.id) || lifecycle::is_lost(snapshot, instance, now);
            match instance.status {
                InstanceStatus::PreConnection | InstanceStatus::Active if is_dead => {
                    fleet.died.get_or_insert(instance);
                }
                InstanceStatus::PreConnection => {
                    if lifecycle::never_came_up(snapshot, instance, now) {
                        fleet.never_came_up.get_or_insert(instance);
                    } else {
                        fleet.booting += 1;
                    }
                }
                InstanceStatus::Active => {
                    let silence = snapshot.silence(instance, now);
                    fleet.healthy += u32::from(silence < snapshot.settings.timeouts.heartbeat);
                }
                InstanceStatus::Draining | InstanceStatus::Terminating => {}
            }
        }
        fleet
    }

    /// The instance that shows that the image does not work. One that died early may have been
    /// unlucky: then the others tell.
    fn failing(&self) -> Option<&'s Instance> {
        if self.healthy > 0 {
            return None;
        }
        self.never_came_up
            .or(self.died.filter(|_| self.booting == 0))
    }
}

fn baking(
    snapshot: &Snapshot,
    image: &Image,
    now: Timestamp,
    plan: &mut Plan,
) -> Option<(ImageState, Reason)> {
    let upgrades = &snapshot.settings.upgrades;
    let current = snapshot.current_image()?;
    let back = is_named(snapshot, &image.client_sha) && !is_named(snapshot, &current.client_sha);
    if back && !upgrades.swap_when_warm {
        return Some((ImageState::Current, Reason::WayBack));
    }
    let since = now.duration_since(image.since);
    if since >= upgrades.bake {
        let seconds = since.as_secs();
        return Some((ImageState::Retired, Reason::BakedLongEnough { seconds }));
    }
    plan.note(
        None,
        Reason::StillBaking {
            image: image.id.clone(),
            until: image.since + upgrades.bake,
        },
    );
    None
}

fn report_users(snapshot: &Snapshot, image: &Image, now: Timestamp, plan: &mut Plan) {
    let Some(bound) = snapshot.settings.upgrades.old_image else {
        return;
    };
    let since = now.duration_since(image.since);
    let users: u32 = snapshot
        .instances
        .values()
        .filter(|instance| instance.image_id == image.id)
        .map(|instance| instance.slots.occupied)
        .sum();
    if users > 0 && since >= bound {
        let reason = Reason::UsersOnRetiredImage {
            image: image.id.clone(),
            users,
            seconds: since.as_secs(),
        };
        plan.alert(None, reason);
    }
}
