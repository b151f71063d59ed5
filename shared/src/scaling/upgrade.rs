//! Image upgrades: a new image warms beside the current one, becomes current once it is warm and
//! the app version names it, and the image before it bakes: it is kept ready for a rollback.

use jiff::Timestamp;

use super::plan::{Action, ImageCounts, Plan};
use super::reason::Reason;
use super::rows::Rows;
use super::snapshot::Snapshot;
use crate::ids::ClientSha;
use crate::model::{DrainCause, Image, ImageState, Instance, InstanceStatus};

/// Moves images to their next state and reports users on retired ones. Returns whether an image
/// moved: then the rest is decided by another round, on the state that the move leaves.
pub(super) fn advance_images(
    snapshot: &Snapshot,
    rows: &Rows<'_>,
    now: Timestamp,
    plan: &mut Plan,
) -> bool {
    let (mut moved, mut swapped) = (false, false);
    for counts in plan.images.clone() {
        let Some(image) = snapshot.images.iter().find(|i| i.id == counts.image) else {
            continue;
        };
        let next = match image.state {
            ImageState::Warming => next_of_warming(snapshot, rows, image, &counts, now, plan),
            ImageState::Baking => next_of_baking(snapshot, image, now, plan),
            ImageState::Current | ImageState::Retired | ImageState::Failed => None,
        };
        let Some((to, reason)) = next else { continue };
        // One swap at a time: the next one is decided on the state that this one leaves.
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

/// Whether this environment's app version names the image's clients.
fn is_named(snapshot: &Snapshot, client_sha: &ClientSha) -> bool {
    snapshot.app_sha.as_ref() == Some(client_sha)
}

/// The next state of a warming image, with the reason. None while it has to stay as it is, with a
/// note that says what it waits for.
fn next_of_warming(
    snapshot: &Snapshot,
    rows: &Rows<'_>,
    image: &Image,
    counts: &ImageCounts,
    now: Timestamp,
    plan: &mut Plan,
) -> Option<(ImageState, Reason)> {
    let upgrades = &snapshot.settings.upgrades;
    let fleet = WarmingFleet::of(snapshot, rows, image, now);
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
    // An instance that leaves will make room by itself.
    let is_full = live >= max && rows.leaving_count() == 0;
    // If there is not enough room for the whole buffer, the image is warm with what fits.
    let is_warm = free >= demand || (is_full && starting == 0 && fleet.healthy > 0);
    let named = is_named(snapshot, &image.client_sha);
    if is_warm && (named || upgrades.swap_when_warm) && snapshot.current_image().is_some() {
        return Some((ImageState::Current, Reason::Warm { free, named }));
    }
    let seconds = now.duration_since(image.since).as_secs();
    if seconds >= upgrades.deadline.as_secs() {
        let client_sha = image.client_sha.clone();
        let reason = if is_warm {
            Reason::UpgradeNotNamed {
                seconds,
                client_sha,
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
    if is_full && fleet.is_empty && demand > 0 {
        return Some((ImageState::Failed, Reason::NoRoomForUpgrade { live, max }));
    }
    plan.note(None, waiting_reason(image, counts, is_warm));
    None
}

/// What a warming image waits for.
fn waiting_reason(image: &Image, counts: &ImageCounts, is_warm: bool) -> Reason {
    if is_warm {
        Reason::AwaitsAppVersion {
            image: image.id.clone(),
            client_sha: image.client_sha.clone(),
        }
    } else {
        Reason::StillWarming {
            image: image.id.clone(),
            free: counts.free,
            demand: counts.demand,
            starting: counts.starting,
        }
    }
}

/// The instances of a warming image.
#[derive(Default)]
struct WarmingFleet<'s> {
    /// The image has neither rows nor an open launch.
    is_empty: bool,
    healthy: u32,
    /// Instances within their boot time.
    booting: u32,
    /// An instance that had its whole boot time and did not come up.
    never_came_up: Option<&'s Instance>,
    /// An instance whose machine is down, whose agent is lost, or which its agent took out of service.
    died: Option<&'s Instance>,
}

impl<'s> WarmingFleet<'s> {
    fn of(snapshot: &Snapshot, rows: &Rows<'s>, image: &Image, now: Timestamp) -> Self {
        let mut fleet = Self {
            is_empty: !snapshot
                .open_intents
                .iter()
                .any(|intent| intent.request.image_id == image.id),
            ..Self::default()
        };
        for row in rows.of_image(&image.id) {
            let instance = row.instance;
            fleet.is_empty = false;
            // The image is not at fault if EC2 announced to take the instance.
            if instance.notice.is_some() {
                continue;
            }
            let is_dead = row.is_down || row.is_lost;
            match instance.status {
                InstanceStatus::PreConnection | InstanceStatus::Active if is_dead => {
                    fleet.died.get_or_insert(instance);
                }
                InstanceStatus::PreConnection => {
                    if snapshot.never_came_up(instance, now) {
                        fleet.never_came_up.get_or_insert(instance);
                    } else {
                        fleet.booting += 1;
                    }
                }
                InstanceStatus::Active => {
                    let silence = snapshot.silence(instance, now);
                    fleet.healthy += u32::from(silence < snapshot.settings.timeouts.heartbeat);
                }
                // Its own agent found it broken.
                InstanceStatus::Draining if instance.drain_cause == Some(DrainCause::Agent) => {
                    fleet.died.get_or_insert(instance);
                }
                InstanceStatus::Draining | InstanceStatus::Terminating => {}
            }
        }
        fleet
    }

    /// The instance that shows that the image does not work. An instance that died early is not
    /// enough: while others still boot, they decide.
    fn failing(&self) -> Option<&'s Instance> {
        if self.healthy > 0 {
            return None;
        }
        self.never_came_up
            .or(self.died.filter(|_| self.booting == 0))
    }
}

/// The next state of a baking image, with the reason. None while it bakes, with a note.
fn next_of_baking(
    snapshot: &Snapshot,
    image: &Image,
    now: Timestamp,
    plan: &mut Plan,
) -> Option<(ImageState, Reason)> {
    let upgrades = &snapshot.settings.upgrades;
    let current = snapshot.current_image()?;
    let is_named_again =
        is_named(snapshot, &image.client_sha) && !is_named(snapshot, &current.client_sha);
    if is_named_again && !upgrades.swap_when_warm {
        return Some((ImageState::Current, Reason::WayBack));
    }
    let baking_for = now.duration_since(image.since);
    if baking_for >= upgrades.bake {
        let seconds = baking_for.as_secs();
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

/// Alerts if users are still on a retired image after `old_image_seconds`. Off if that is not set.
fn report_users(snapshot: &Snapshot, image: &Image, now: Timestamp, plan: &mut Plan) {
    let Some(limit) = snapshot.settings.upgrades.old_image else {
        return;
    };
    let retired_for = now.duration_since(image.since);
    let users: u32 = snapshot
        .instances
        .values()
        .filter(|instance| instance.image_id == image.id)
        .map(|instance| instance.slots.occupied)
        .sum();
    if users > 0 && retired_for >= limit {
        let reason = Reason::UsersOnRetiredImage {
            image: image.id.clone(),
            users,
            seconds: retired_for.as_secs(),
        };
        plan.alert(None, reason);
    }
}
