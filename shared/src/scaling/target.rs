//! The target: how many slots of an image are to be free now, and what says so. Whatever counts, fills,
//! drains or shows a buffer asks here.
//!
//! What the operator says comes first: `target_free`, and schedules. With `adaptive`, that is the floor of
//! what [`sizing`](super::sizing) says, which is the one answer in which it differs from `default`. A
//! fixed target of a schedule holds as it is.

use jiff::{SignedDuration, Timestamp};

use super::plan::Plan;
use super::reason::Reason;
use super::schedule::{Window, windows};
use super::sizing::{Sizing, size};
use super::snapshot::Snapshot;
use crate::settings::{ADAPTIVE, RegionSettings, Schedule, ScheduleKind};

/// The slots that are to be free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'s> {
    pub slots: u32,
    /// The schedule that says so, and when it is in force; none: `target_free`, or `adaptive`.
    pub schedule: Option<(&'s Schedule, Window)>,
    /// A schedule holds the target as it is.
    pub is_fixed: bool,
}

/// However far a region is from a schedule's slots, it does not pay for them longer than this before they
/// are due.
const LONGEST_LEAD: SignedDuration = SignedDuration::from_hours(6);

/// The region's target, and how it came about.
pub(super) struct SizedTarget<'s> {
    pub(super) target: Target<'s>,
    /// What the operator says alone.
    said: Target<'s>,
    /// What `adaptive` says. None if the operator alone sets the target, or nothing is known to size it by.
    sizing: Option<Sizing>,
}

impl Snapshot {
    /// A disabled region takes no users: it needs no buffer.
    pub(super) fn target(&self, now: Timestamp) -> SizedTarget<'_> {
        let said = match self.settings.enabled {
            true => target(&self.settings, now),
            false => Target {
                slots: 0,
                schedule: None,
                is_fixed: true,
            },
        };
        let is_sized = self.settings.algorithm == ADAPTIVE && !said.is_fixed;
        let flow = self.flow.as_ref().filter(|_| is_sized);
        let sizing = flow.and_then(|flow| size(self, flow, said.slots, now));
        let target = match sizing {
            Some(sizing) if sizing.target > said.slots => Target {
                slots: sizing.target,
                schedule: None,
                ..said
            },
            _ => said,
        };
        SizedTarget {
            target,
            said,
            sizing,
        }
    }
}

/// What the operator says of an enabled region: the highest target that holds now, or that is due so soon that instances have
/// to be launched for it now. So capacity is there when a schedule begins, and when one ends that had
/// lowered the target.
pub fn target(settings: &RegionSettings, now: Timestamp) -> Target<'_> {
    let pass = SignedDuration::from_secs(settings.pass_seconds.into());
    let in_force: Vec<_> = settings
        .schedules
        .iter()
        .flat_map(|schedule| {
            let windows = windows(schedule, now, now + LONGEST_LEAD + pass);
            windows.into_iter().map(move |window| (schedule, window))
        })
        .collect();
    let mut highest = target_at(settings, &in_force, now);
    let mut changes: Vec<_> = in_force
        .iter()
        .flat_map(|(_, window)| [window.from, window.until])
        .filter(|at| *at > now)
        .collect();
    changes.sort_unstable();
    for at in changes {
        let then = target_at(settings, &in_force, at);
        if then.slots > highest.slots && at - lead(settings, then.slots) <= now {
            highest = Target {
                is_fixed: highest.is_fixed,
                ..then
            };
        }
    }
    highest
}

/// The target that holds at a moment. Of several fixed targets and floors the highest counts, and the
/// schedule that was set first, if they are equal.
fn target_at<'s>(
    settings: &'s RegionSettings,
    in_force: &[(&'s Schedule, Window)],
    at: Timestamp,
) -> Target<'s> {
    let highest = |kind: ScheduleKind| {
        in_force
            .iter()
            .filter(|(schedule, window)| schedule.kind == kind && window.contains(at))
            .max_by_key(|(schedule, _)| (schedule.slots, std::cmp::Reverse(schedule.id)))
            .map(|(schedule, window)| Target {
                slots: schedule.slots,
                schedule: Some((schedule, *window)),
                is_fixed: kind == ScheduleKind::Fixed,
            })
    };
    let base = highest(ScheduleKind::Fixed).unwrap_or(Target {
        slots: settings.target_free,
        schedule: None,
        is_fixed: false,
    });
    highest(ScheduleKind::Floor)
        .filter(|floor| floor.slots > base.slots)
        .map_or(base, |floor| Target {
            is_fixed: base.is_fixed,
            ..floor
        })
}

/// How long before they are due the launches for these slots begin: one boot, and as many passes as
/// `scale_up_step` needs for them if no instance is there yet.
fn lead(settings: &RegionSettings, slots: u32) -> SignedDuration {
    let capacity = settings.launch_choices.first();
    let capacity = capacity.map_or(1, |choice| choice.capacity.max(1));
    let instances = slots.div_ceil(capacity).min(settings.max_instances);
    let passes = match settings.scale_up_step {
        0 => 1,
        step => instances.div_ceil(step).max(1),
    };
    let passes = SignedDuration::from_secs(i64::from(passes) * i64::from(settings.pass_seconds));
    settings
        .timeouts
        .boot
        .saturating_add(passes)
        .min(LONGEST_LEAD)
}

/// Says how the target came about, where that is not `target_free` alone, and which schedules cannot work.
pub(super) fn report(snapshot: &Snapshot, sized: &SizedTarget<'_>, plan: &mut Plan) {
    let settings = &snapshot.settings;
    for problem in &settings.schedule_problems {
        let reason = Reason::ScheduleInvalid {
            schedule: problem.schedule,
            problem: problem.problem.clone(),
        };
        plan.alert(None, reason);
    }
    if let Some((schedule, window)) = sized.target.schedule {
        plan.note(
            None,
            Reason::TargetScheduled {
                target: schedule.slots,
                schedule: schedule.id,
                kind: schedule.kind,
                from: window.from,
                until: window.until,
                set_by: schedule.set_by.clone(),
                note: schedule.note.clone(),
            },
        );
    }
    if settings.algorithm == ADAPTIVE && settings.enabled {
        let said = &sized.said;
        match sized.sizing {
            Some(sizing) => plan.note(None, sizing.reason(snapshot)),
            None if said.is_fixed => {}
            None => plan.note(None, Reason::TargetWithoutHistory { target: said.slots }),
        }
    }
}
