//! The launch choices that a plan offers to the executor, in order of preference.

use jiff::Timestamp;

use super::plan::{LaunchOption, Plan};
use super::reason::Reason;
use super::snapshot::Snapshot;
use crate::ids::ImageId;
use crate::settings::{LaunchChoice, Selector};

/// The region's choices without those whose pools rest for this image. None, with an alert, if
/// nothing is left.
pub(super) fn usable_choices(
    snapshot: &Snapshot,
    image: &ImageId,
    now: Timestamp,
    plan: &mut Plan,
) -> Option<Vec<LaunchChoice>> {
    let settings = &snapshot.settings;
    let all = &settings.launch_choices;
    if !settings.can_launch() || all.is_empty() {
        // A setting that cannot work has an alert of its own.
        if settings.launch_problems.is_empty() {
            plan.alert(None, Reason::NoLaunchChoice);
        }
        return None;
    }
    let usable: Vec<_> = all
        .iter()
        .filter(|choice| !rests(plan, choice, image, now))
        .cloned()
        .collect();
    if usable.is_empty() {
        let in_force = || plan.refusals.iter().filter(|rest| rest.is_in_force(now));
        let until = in_force().map(|refusal| refusal.until).min().unwrap_or(now);
        let mut whys: Vec<_> = in_force().map(|refusal| refusal.why.clone()).collect();
        whys.retain(|why| !why.is_empty());
        whys.sort();
        whys.dedup();
        let why = whys.join("; ");
        plan.alert(None, Reason::NoCapacity { until, why });
        return None;
    }
    Some(usable)
}

/// A choice that names its subnets by tag never rests as a whole: the executor leaves out the
/// subnets that do.
fn rests(plan: &Plan, choice: &LaunchChoice, image: &ImageId, now: Timestamp) -> bool {
    match &choice.subnet {
        Selector::Id(id) => plan.rests(choice, id, image, now),
        Selector::Tag { .. } => false,
    }
}

/// How many instances may still be launched within `launches_per_hour`.
pub(super) fn left_of_hour(snapshot: &Snapshot, now: Timestamp) -> u32 {
    match snapshot.settings.launch_limit() {
        None => u32::MAX,
        Some(limit) => limit.saturating_sub(snapshot.launches.launched(now)),
    }
}

/// Alerts that `launches_per_hour` keeps instances from being launched.
pub(super) fn alert_limit(snapshot: &Snapshot, now: Timestamp, plan: &mut Plan) {
    let reason = Reason::LaunchLimit {
        launched: snapshot.launches.launched(now),
        limit: snapshot.settings.launch_limit().unwrap_or(u32::MAX),
        until: snapshot.launches.next_free(now).unwrap_or(now),
    };
    plan.alert(None, reason);
}

/// Each choice with its number of instances. The executor takes the first one that EC2 has capacity
/// for.
pub(super) fn options_of(
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
