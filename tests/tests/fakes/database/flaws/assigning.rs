//! Rules of assigning.

use shared::assign::ClientBuild;
use shared::model::ImageState;
use shared::settings::ADAPTIVE;
use testing::{SlotRow, SlotStatus, Tables};

use super::{Flaw, change_settings, change_slots, keep_settings};
use crate::database::steps::{Action, Step};

pub(super) fn flaws() -> Vec<Flaw> {
    let mut flaws = of_users();
    flaws.extend(of_slots());
    flaws.extend(of_wakes());
    flaws.extend(of_regions());
    flaws
}

fn of_users() -> Vec<Flaw> {
    vec![
        Flaw::wrong_meanwhile(
            "ended sessions count towards the limit",
            |tables, step| {
                if let Action::Assign(request) = &step.action {
                    let (user, session) = (request.user.as_str(), request.session.as_str());
                    change_slots(tables, |slot| {
                        if slot.status == SlotStatus::Dying && !slot.is_of(user, session) {
                            slot.status = SlotStatus::Running;
                        }
                    });
                }
            },
            |was, now, step, _| {
                for (id, slot) in &mut now.slots {
                    let ended = was
                        .slots
                        .get(id)
                        .is_some_and(|slot| slot.status == SlotStatus::Dying);
                    if matches!(step.action, Action::Assign(_)) && ended {
                        slot.status = SlotStatus::Dying;
                    }
                }
            },
        ),
        Flaw::wrong_result(
            "a repeated request keeps the first claim time",
            |was, now, step, answer| {
                if matches!(step.action, Action::Assign(_)) && answer.contains("repeated: true") {
                    now.slots.clone_from(&was.slots);
                }
            },
        ),
        Flaw::wrong_result(
            "a session keeps its slot on an instance that takes no users",
            |was, now, step, _| {
                if let Action::Assign(request) = &step.action {
                    let (user, session) = (request.user.as_str(), request.session.as_str());
                    let is_held =
                        |slot: &SlotRow| slot.status.is_held() && slot.is_of(user, session);
                    let moved = was.slots.iter().any(|(id, slot)| {
                        is_held(slot) && now.slots.get(id).is_some_and(|after| !is_held(after))
                    });
                    if moved {
                        now.slots.clone_from(&was.slots);
                    }
                }
            },
        ),
        Flaw::wrong_result(
            "a user who is served keeps waiting elsewhere",
            |was, now, step, _| {
                if let Action::Assign(request) = &step.action {
                    let mut others = was.waiting_users.clone();
                    let first = request.regions.first();
                    others.retain(|(_, region, _), _| Some(region) != first);
                    others.append(&mut now.waiting_users);
                    now.waiting_users = others;
                }
            },
        ),
        Flaw::wrong_result(
            "every refusal resets the waiting time",
            |_, now, step, _| {
                if let Action::Assign(request) = &step.action {
                    let user = request.user.as_str();
                    for ((of, ..), waits) in &mut now.waiting_users {
                        if of == user && waits.last_at == step.at {
                            waits.first_at = waits.last_at;
                        }
                    }
                }
            },
        ),
    ]
}

fn of_slots() -> Vec<Flaw> {
    vec![
        Flaw::wrong_result(
            "an instance's last free slot is assigned first",
            |was, now, step, answer| {
                let others = |_: &Tables, given: &SlotRow, other: &SlotRow| {
                    given.instance_id == other.instance_id
                };
                give_another(was, now, step, answer, others);
            },
        ),
        Flaw::wrong_result(
            "the emptiest instance is filled first",
            |was, now, step, answer| {
                // The images are still respected, so that only the order is wrong.
                let others = |tables: &Tables, given: &SlotRow, other: &SlotRow| {
                    let host = |slot: &SlotRow| &tables.instances[&slot.instance_id];
                    let free = |slot: &SlotRow| {
                        let slots = tables.slots_of(&slot.instance_id);
                        slots
                            .filter(|(_, s)| s.status == SlotStatus::Waiting)
                            .count()
                    };
                    host(given).image_id == host(other).image_id
                        && host(given).region == host(other).region
                        && host(given).status == host(other).status
                        && free(other) > free(given)
                };
                give_another(was, now, step, answer, others);
            },
        ),
    ]
}

/// Gives the last of the assignable slots instead of the chosen one.
fn give_another(
    was: &Tables,
    now: &mut Tables,
    step: &Step,
    answer: &mut String,
    instead: impl Fn(&Tables, &SlotRow, &SlotRow) -> bool,
) {
    if !matches!(step.action, Action::Assign(_)) {
        return;
    }
    let was_free = |id: &String| {
        was.slots
            .get(id)
            .is_some_and(|s| s.status == SlotStatus::Waiting)
    };
    let given = now
        .slots
        .iter()
        .find(|(id, slot)| slot.status == SlotStatus::Allocated && was_free(id))
        .map(|(id, slot)| (id.clone(), slot.clone()));
    let Some((given, slot)) = given else { return };
    let another = was
        .slots
        .iter()
        .rfind(|(id, other)| {
            was_free(id) && **id != given && instead(was, &was.slots[&given], other)
        })
        .map(|(id, other)| (id.clone(), other.clone()));
    let Some((id, other)) = another else { return };
    *answer = answer
        .replace(&given, &id)
        .replace(slot.instance_id.as_str(), other.instance_id.as_str());
    now.slots.insert(given.clone(), was.slots[&given].clone());
    let taken = SlotRow {
        instance_id: other.instance_id,
        ..slot
    };
    now.slots.insert(id, taken);
}

fn of_wakes() -> Vec<Flaw> {
    vec![
        Flaw::wrong_result("only refusals wake a region", |was, now, step, answer| {
            if matches!(step.action, Action::Assign(_)) && answer.starts_with("Assigned") {
                now.wakeups.clone_from(&was.wakeups);
            }
        }),
        Flaw::wrong_meanwhile(
            "every assign wakes a region",
            |tables, step| change_settings(tables, step, |s| s.target_free = 1000),
            keep_settings,
        ),
        Flaw::wrong_meanwhile(
            "free slots equal to the target wake a region",
            |tables, step| change_settings(tables, step, |s| s.target_free += 1),
            keep_settings,
        ),
        Flaw::wrong_meanwhile(
            "users who are served wake an adaptive region below its floor only",
            |tables, step| set_algorithm(tables, step, "default"),
            keep_settings,
        ),
        Flaw::wrong_meanwhile(
            "users who are served wake every region that no pass observed",
            |tables, step| set_algorithm(tables, step, ADAPTIVE),
            keep_settings,
        ),
        Flaw::wrong_meanwhile(
            "an adaptive region is woken, though a pass has just been there",
            |tables, step| {
                if matches!(step.action, Action::Assign(_)) {
                    tables
                        .fences
                        .values_mut()
                        .for_each(|fence| fence.last_pass_at = None);
                }
            },
            |was, now, _, _| now.fences.clone_from(&was.fences),
        ),
    ]
}

/// While a user asks.
fn set_algorithm(tables: &mut Tables, step: &Step, algorithm: &str) {
    if matches!(step.action, Action::Assign(_)) {
        change_settings(tables, step, |settings| {
            algorithm.clone_into(&mut settings.algorithm);
        });
    }
}

fn of_regions() -> Vec<Flaw> {
    vec![
        Flaw::wrong_meanwhile(
            "disabled regions serve users",
            |tables, step| change_settings(tables, step, |s| s.enabled = true),
            keep_settings,
        ),
        Flaw::wrong_meanwhile(
            "only the current image is served",
            |tables, step| {
                if matches!(step.action, Action::Assign(_)) {
                    for image in tables.images.values_mut() {
                        if image.state == ImageState::Baking {
                            image.state = ImageState::Retired;
                        }
                    }
                }
            },
            |was, now, step, _| {
                if matches!(step.action, Action::Assign(_)) {
                    now.images.clone_from(&was.images);
                }
            },
        ),
        Flaw::wrong_meanwhile(
            "interrupted instances get users",
            |tables, step| {
                if matches!(step.action, Action::Assign(_)) {
                    let rows = tables.instances.values_mut();
                    rows.for_each(|row| row.notice = None);
                }
            },
            |was, now, step, _| {
                if matches!(step.action, Action::Assign(_)) {
                    now.instances.clone_from(&was.instances);
                }
            },
        ),
        Flaw::wrong_step("a developer's build is matched like others", |_, step| {
            if let Action::Assign(request) = &mut step.action
                && request.client == ClientBuild::CurrentImage
            {
                request.client = ClientBuild::Sha("sha-of-ami-1".into());
            }
        }),
        Flaw::wrong_step("the regions' order does not matter", |_, step| {
            if let Action::Assign(request) = &mut step.action {
                request.regions.sort();
            }
        }),
    ]
}
