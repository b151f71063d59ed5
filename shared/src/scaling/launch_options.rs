//! The launch choices that a plan offers to the executor, in order of preference.

use jiff::Timestamp;

use super::plan::{LaunchOption, Plan};
use super::reason::Reason;
use super::snapshot::Snapshot;
use crate::settings::{LaunchChoice, Selector};

/// The region's choices without those that EC2 refused lately. None, with an alert, if nothing is
/// left.
pub(super) fn usable_choices(
    snapshot: &Snapshot,
    now: Timestamp,
    plan: &mut Plan,
) -> Option<Vec<LaunchChoice>> {
    let all = &snapshot.settings.launch_choices;
    if all.is_empty() {
        plan.alert(None, Reason::NoLaunchChoice);
        return None;
    }
    let usable: Vec<_> = all
        .iter()
        .filter(|choice| !is_refused(snapshot, choice, now))
        .cloned()
        .collect();
    if usable.is_empty() {
        let refusals = snapshot.refusals.iter();
        let until = refusals.map(|refusal| refusal.until).min().unwrap_or(now);
        plan.alert(None, Reason::NoCapacity { until });
        return None;
    }
    Some(usable)
}

/// A choice that names its subnets by tag is never refused as a whole: the executor leaves out the
/// subnets that were refused.
fn is_refused(snapshot: &Snapshot, choice: &LaunchChoice, now: Timestamp) -> bool {
    match &choice.subnet {
        Selector::Id(id) => {
            let mut refusals = snapshot.refusals.iter();
            refusals.any(|refusal| refusal.covers(choice, id, now))
        }
        Selector::Tag { .. } => false,
    }
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
