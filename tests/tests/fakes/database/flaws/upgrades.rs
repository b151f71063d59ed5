//! Rules of image upgrades.

mod buffers;
mod moves;

use shared::ids::{ImageId, RegionName};
use shared::model::{Image, ImageState};
use testing::Tables;

use super::{Flaw, change_settings, keep_settings};
use crate::database::steps::{Action, Step};

type Key = (RegionName, ImageId);

pub(super) fn flaws() -> Vec<Flaw> {
    let mut flaws = of_asking();
    flaws.extend(of_baking());
    flaws.extend(moves::flaws());
    flaws.extend(of_states());
    flaws.extend(buffers::flaws());
    flaws
}

/// The requested image.
fn asked_for(step: &Step) -> Option<Key> {
    match &step.action {
        Action::Upgrade(region, image, _) => Some((region.clone(), image.clone())),
        _ => None,
    }
}

/// The moved image.
fn moved(step: &Step) -> Option<Key> {
    match &step.action {
        Action::MoveImage(fence, image, ..) => Some((fence.region.clone(), image.clone())),
        _ => None,
    }
}

fn was_in(was: &Tables, key: &Key, state: ImageState) -> bool {
    was.images.get(key).is_some_and(|row| row.state == state)
}

/// Restores the images that went from one state to the other.
fn undo(was: &Tables, now: &mut Tables, (from, to): (ImageState, ImageState)) {
    for (key, before) in &was.images {
        if before.state == from && was_in(now, key, to) {
            now.images.insert(key.clone(), before.clone());
            now.image_reasons.remove(key);
        }
    }
}

fn of_asking() -> Vec<Flaw> {
    const CANCELLED: (ImageState, ImageState) = (ImageState::Warming, ImageState::Failed);
    vec![
        Flaw::wrong_result("an older upgrade continues", |was, now, step, _| {
            if asked_for(step).is_some() {
                undo(was, now, CANCELLED);
            }
        }),
        Flaw::wrong_result(
            "requesting the current image cancels nothing",
            |was, now, step, _| {
                if asked_for(step).is_some_and(|key| was_in(was, &key, ImageState::Current)) {
                    undo(was, now, CANCELLED);
                }
            },
        ),
        Flaw::wrong_result(
            "requesting a baking image cancels nothing",
            |was, now, step, _| {
                if asked_for(step).is_some_and(|key| was_in(was, &key, ImageState::Baking)) {
                    undo(was, now, CANCELLED);
                }
            },
        ),
        Flaw::wrong_step("an image may have any client_sha", |tables, step| {
            if let Action::Upgrade(region, image, sha) = &mut step.action
                && let Some(row) = tables.images.get(&(region.clone(), image.clone()))
            {
                sha.clone_from(&row.client_sha);
            }
        }),
        Flaw::wrong_result(
            "a refused request cancels the warming image",
            |_, now, step, answer| {
                if let Action::Upgrade(region, image, _) = &step.action
                    && answer == "OtherSha"
                {
                    for ((of, id), row) in &mut now.images {
                        if of == region && id != image && row.state == ImageState::Warming {
                            row.state = ImageState::Failed;
                        }
                    }
                }
            },
        ),
        Flaw::wrong_result(
            "a repeated request restarts the image's time",
            |_, now, step, answer| {
                if answer == "Already"
                    && let Some(row) = asked_for(step).and_then(|key| now.images.get_mut(&key))
                {
                    row.since = step.at;
                }
            },
        ),
        Flaw::wrong_result("a new image is current at once", |was, now, step, _| {
            if let Some(key) = asked_for(step)
                && was.regions.contains_key(&key.0)
                && !was.images.contains_key(&key)
            {
                now.make_current(&key.0, &key.1, step.at);
            }
        }),
        Flaw::wrong_result("a cancelled image has no reason", |was, now, step, _| {
            if asked_for(step).is_some() {
                let known = &was.image_reasons;
                now.image_reasons.retain(|key, _| known.contains_key(key));
            }
        }),
    ]
}

fn of_baking() -> Vec<Flaw> {
    vec![
        Flaw::wrong_result(
            "requesting a baking image does not extend its time",
            |was, now, step, _| {
                if let Some(key) = asked_for(step)
                    && was_in(was, &key, ImageState::Baking)
                    && was_in(now, &key, ImageState::Baking)
                {
                    now.images.insert(key.clone(), was.images[&key].clone());
                }
            },
        ),
        Flaw::wrong_meanwhile(
            "only app versions swap",
            |tables, step| change_settings(tables, step, |s| s.upgrades.swap_when_warm = false),
            keep_settings,
        ),
        Flaw::wrong_meanwhile(
            "every region swaps when warm",
            |tables, step| change_settings(tables, step, |s| s.upgrades.swap_when_warm = true),
            keep_settings,
        ),
        Flaw::wrong_result(
            "images of one commit wait for an app version",
            |was, now, step, _| {
                if let Some(key) = asked_for(step)
                    && was_in(was, &key, ImageState::Baking)
                    && was_in(now, &key, ImageState::Current)
                    && !was.regions[&key.0].settings.upgrades.swap_when_warm
                {
                    now.images.clone_from(&was.images);
                    now.images.get_mut(&key).unwrap().since = step.at;
                }
            },
        ),
        Flaw::wrong_result("a swap leaves two current images", |was, now, step, _| {
            if moved(step).or(asked_for(step)).is_some() {
                undo(was, now, (ImageState::Current, ImageState::Baking));
            }
        }),
        Flaw::wrong_result(
            "the current image retires when another takes its place",
            |was, now, _, _| {
                for (key, row) in &mut now.images {
                    if row.state == ImageState::Baking && was_in(was, key, ImageState::Current) {
                        row.state = ImageState::Retired;
                    }
                }
            },
        ),
    ]
}

fn of_states() -> Vec<Flaw> {
    /// Each image that existed before.
    fn each(was: &Tables, now: &mut Tables, change: impl Fn(&Image, &mut Image)) {
        for (key, row) in &mut now.images {
            if let Some(before) = was.images.get(key) {
                change(before, row);
            }
        }
    }
    vec![
        Flaw::wrong_result(
            "a state has the time of the one before",
            |was, now, _, _| {
                each(was, now, |before, row| row.since = before.since);
            },
        ),
        Flaw::wrong_result("the time before a failure counts", |was, now, _, _| {
            each(was, now, |before, row| {
                if row.state == ImageState::Failed {
                    row.since = before.since;
                }
            });
        }),
        Flaw::wrong_result(
            "a state that is set again has its time anew",
            |_, now, step, _| {
                if let Action::SetImage(region, image, state) = &step.action
                    && let Some(row) = now.images.get_mut(&(region.clone(), image.clone()))
                    && row.state == *state
                {
                    row.since = step.at;
                }
            },
        ),
        Flaw::wrong_result("the reason of a failure stays", |was, now, _, _| {
            for (key, reason) in &was.image_reasons {
                let kept = now.image_reasons.entry(key.clone());
                kept.or_insert_with(|| reason.clone());
            }
        }),
    ]
}
