//! How many free slots a region is to have: the one answer in which `adaptive` differs from `default`.
//!
//! [`target`] is what all decisions compare with. With `default` it is the region's floor,
//! `target_free`. With `adaptive` it is what [`sizing`](super::sizing) says, and never less than the
//! floor.

use jiff::Timestamp;

use super::plan::Plan;
use super::reason::Reason;
use super::sizing::{Sizing, size};
use super::snapshot::Snapshot;
use crate::settings::ADAPTIVE;

/// A disabled region takes no users: it needs no buffer.
pub(super) fn target(snapshot: &Snapshot, now: Timestamp) -> u32 {
    if !snapshot.settings.enabled {
        return 0;
    }
    let sizing = sized(snapshot, now);
    sizing.map_or_else(|| floor(snapshot), |sizing| sizing.target)
}

/// The fewest free slots that the operator wants.
fn floor(snapshot: &Snapshot) -> u32 {
    snapshot.settings.target_free
}

/// None if the operator alone sets the target, or nothing is known to size it by.
fn sized(snapshot: &Snapshot, now: Timestamp) -> Option<Sizing> {
    let is_sized = snapshot.settings.algorithm == ADAPTIVE;
    let flow = snapshot.flow.as_ref().filter(|_| is_sized)?;
    size(snapshot, flow, floor(snapshot), now)
}

/// Says how the target came about, where that is not the operator's setting alone.
pub(super) fn report_target(snapshot: &Snapshot, now: Timestamp, plan: &mut Plan) {
    if snapshot.settings.algorithm != ADAPTIVE || !snapshot.settings.enabled {
        return;
    }
    let reason = match sized(snapshot, now) {
        Some(sizing) => sizing.reason(snapshot),
        None => Reason::TargetWithoutHistory {
            target: floor(snapshot),
        },
    };
    plan.note(None, reason);
}
