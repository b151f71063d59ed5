//! Each image's own buffer, and the app version that decides between images.

use shared::ids::{ImageId, RegionName};
use testing::Tables;

use super::super::Flaw;
use crate::database::sides::{ENVIRONMENT, OTHERS};
use crate::database::steps::{Action, Step};

pub(super) fn flaws() -> Vec<Flaw> {
    let mut flaws = of_wakes();
    flaws.extend(of_apps());
    flaws
}

fn of_wakes() -> Vec<Flaw> {
    /// The region in which a slot was assigned, the time, and the region's target.
    fn given(now: &Tables, step: &Step, answer: &str) -> Option<(RegionName, u32)> {
        let is_new = matches!(step.action, Action::Assign(_)) && answer.contains("repeated: false");
        let mut regions = now.regions.values().filter(|_| is_new);
        let row = regions.find(|row| answer.contains(row.settings.name.as_str()))?;
        Some((row.settings.name.clone(), row.settings.target_free))
    }
    vec![
        Flaw::wrong_result("all images have one buffer", |was, now, step, answer| {
            if let Some((region, target)) = given(now, step, answer)
                && now.free_slots(&region, step.at) >= target
            {
                now.wakeups.clone_from(&was.wakeups);
            }
        }),
        Flaw::wrong_result(
            "any image below target wakes its region",
            |_, now, step, answer| {
                let Some((region, target)) = given(now, step, answer) else {
                    return;
                };
                let is_short = |id: &ImageId| {
                    now.free_slots_on(&region, std::slice::from_ref(id), step.at) < target
                };
                let any = now
                    .images
                    .iter()
                    .any(|((of, id), row)| *of == region && row.state.is_served() && is_short(id));
                if any {
                    let second = step.at.as_second().div_euclid(2) * 2;
                    let bucket = jiff::Timestamp::from_second(second).unwrap();
                    now.wakeups.insert((region, bucket));
                }
            },
        ),
    ]
}

fn of_apps() -> Vec<Flaw> {
    fn keep_apps(was: &Tables, now: &mut Tables, _: &Step, _: &mut String) {
        now.app_versions.clone_from(&was.app_versions);
    }
    vec![
        Flaw::wrong_meanwhile(
            "a pass sees no app version",
            |tables, step| {
                if matches!(step.action, Action::BeginPass(_) | Action::Observe(_)) {
                    tables.app_versions.remove(ENVIRONMENT);
                }
            },
            keep_apps,
        ),
        Flaw::wrong_meanwhile(
            "a pass sees another environment's app version",
            |tables, step| {
                if matches!(step.action, Action::BeginPass(_) | Action::Observe(_)) {
                    let others = tables.app_versions[OTHERS].clone();
                    tables.app_versions.insert(ENVIRONMENT.to_owned(), others);
                }
            },
            keep_apps,
        ),
    ]
}
