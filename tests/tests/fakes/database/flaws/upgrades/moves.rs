//! Moves of images, and their fence.

use jiff::SignedDuration;
use shared::model::ImageState;
use testing::Tables;

use super::super::Flaw;
use super::{Key, asked_for, moved};
use crate::database::steps::{Action, Step};

pub(super) fn flaws() -> Vec<Flaw> {
    let mut flaws = of_moving();
    flaws.extend(of_fences());
    flaws
}

/// A move that exists.
fn is_known(from: ImageState, to: ImageState) -> bool {
    use ImageState::{Baking, Current, Failed, Retired, Warming};
    matches!(
        (from, to),
        (Warming | Baking, Current) | (Warming, Failed) | (Baking, Retired)
    )
}

fn of_moving() -> Vec<Flaw> {
    vec![
        Flaw::wrong_step("an image is moved from any state", |tables, step| {
            let state = |key: &Key| tables.images.get(key).map(|row| row.state);
            let actual = moved(step).and_then(|key| state(&key));
            if let (Some(actual), Action::MoveImage(_, _, from, to)) = (actual, &mut step.action)
                && is_known(*from, *to)
                && is_known(actual, *to)
            {
                *from = actual;
            }
        }),
        Flaw::wrong_step("an image may move to its own state", |tables, step| {
            if let Action::MoveImage(fence, image, from, to) = &mut step.action
                && from == to
                && tables
                    .images
                    .get(&(fence.region.clone(), image.clone()))
                    .is_some_and(|row| row.state == ImageState::Current)
            {
                (*from, *to) = (ImageState::Baking, ImageState::Current);
            }
        }),
        Flaw::wrong_result("a failure has no reason", |_, now, step, answer| {
            if let Some(key) = moved(step)
                && answer.contains("Done")
            {
                now.image_reasons.remove(&key);
            }
        }),
        Flaw::wrong_result("every move has a reason", |_, now, step, answer| {
            if let Some(key) = moved(step)
                && answer.contains("Done")
            {
                now.image_reasons.insert(key, "because".to_owned());
            }
        }),
    ]
}

fn of_fences() -> Vec<Flaw> {
    const MOMENT: SignedDuration = SignedDuration::from_micros(1);
    vec![
        Flaw::wrong_step("an older version moves images", |tables, step| {
            if let Action::MoveImage(fence, ..) = &mut step.action {
                let in_force = tables.fences.get(&fence.region).map(|row| row.version);
                fence.version = in_force.max(Some(fence.version)).unwrap();
            }
        }),
        Flaw::wrong_result(
            "a request for an image does not use the fence",
            |was, now, step, _| {
                if asked_for(step).is_some() {
                    now.fences.clone_from(&was.fences);
                }
            },
        ),
        Flaw::wrong_meanwhile(
            "an image requested after the observation is moved",
            |tables, step| {
                if let Some((region, _)) = moved(step)
                    && let Some(fence) = tables.fences.get_mut(&region)
                {
                    fence.last_pass_at = None;
                }
            },
            keep_looks,
        ),
        Flaw::wrong_meanwhile(
            "an image requested at the observation is not moved",
            |tables, step| {
                if let Some((region, _)) = moved(step)
                    && let Some(fence) = tables.fences.get_mut(&region)
                {
                    fence.last_pass_at = fence.last_pass_at.map(|at| at - MOMENT);
                }
            },
            keep_looks,
        ),
    ]
}

fn keep_looks(was: &Tables, now: &mut Tables, step: &Step, _: &mut String) {
    if let Some((region, _)) = moved(step)
        && let Some(before) = was.fences.get(&region)
        && let Some(fence) = now.fences.get_mut(&region)
    {
        fence.last_pass_at = before.last_pass_at;
    }
}
