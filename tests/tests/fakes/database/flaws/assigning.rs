//! Rules of assigning.

use shared::assign::ClientBuild;
use shared::model::ImageState;
use testing::{SlotRow, SlotStatus, Tables};

use super::{Flaw, asked, change_settings, change_slots, keep_settings, left, meanwhile};
use crate::database::steps::{Ask, Step};

pub(super) fn flaws() -> Vec<Flaw> {
    let mut flaws = of_users();
    flaws.extend(of_slots());
    flaws.extend(of_wakes());
    flaws.extend(of_regions());
    flaws
}

fn of_users() -> Vec<Flaw> {
    vec![
        meanwhile(
            "ended sessions count for the limit",
            |tables, step| {
                if let Ask::Assign(request) = &step.ask {
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
                    if matches!(step.ask, Ask::Assign(_)) && ended {
                        slot.status = SlotStatus::Dying;
                    }
                }
            },
        ),
        left(
            "a repeated request has the time of the first",
            |was, now, step, answer| {
                if matches!(step.ask, Ask::Assign(_)) && answer.contains("repeated: true") {
                    now.slots.clone_from(&was.slots);
                }
            },
        ),
        left(
            "who is served under one session waits under others",
            |was, now, step, _| {
                if let Ask::Assign(request) = &step.ask {
                    let mut others = was.waiting_users.clone();
                    others.retain(|(_, session), _| session != request.session.as_str());
                    others.append(&mut now.waiting_users);
                    now.waiting_users = others;
                }
            },
        ),
        left("every refusal is the first", |_, now, step, _| {
            if let Ask::Assign(request) = &step.ask {
                let key = (request.user.to_string(), request.session.to_string());
                if let Some(waits) = now.waiting_users.get_mut(&key) {
                    waits.first_at = waits.last_at;
                }
            }
        }),
    ]
}

fn of_slots() -> Vec<Flaw> {
    vec![
        left(
            "the last of an instance's free slots is given",
            |was, now, step, answer| {
                let others = |_: &Tables, given: &SlotRow, other: &SlotRow| {
                    given.instance_id == other.instance_id
                };
                give_another(was, now, step, answer, others);
            },
        ),
        left(
            "the emptiest instance is filled first",
            |was, now, step, answer| {
                // The image is looked at, so that it is the order alone that is wrong.
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

/// Gives the last of the slots that may be given instead of the one that was.
fn give_another(
    was: &Tables,
    now: &mut Tables,
    step: &Step,
    answer: &mut String,
    instead: impl Fn(&Tables, &SlotRow, &SlotRow) -> bool,
) {
    if !matches!(step.ask, Ask::Assign(_)) {
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
        left("only a refusal wakes", |was, now, step, answer| {
            if matches!(step.ask, Ask::Assign(_)) && answer.starts_with("Assigned") {
                now.wakeups.clone_from(&was.wakeups);
            }
        }),
        meanwhile(
            "every assign wakes",
            |tables, step| change_settings(tables, step, |s| s.target_free = 1000),
            keep_settings,
        ),
        meanwhile(
            "as many free slots as the target are too few",
            |tables, step| change_settings(tables, step, |s| s.target_free += 1),
            keep_settings,
        ),
    ]
}

fn of_regions() -> Vec<Flaw> {
    vec![
        meanwhile(
            "regions that are not enabled serve",
            |tables, step| change_settings(tables, step, |s| s.enabled = true),
            keep_settings,
        ),
        meanwhile(
            "only the current image is served",
            |tables, step| {
                if matches!(step.ask, Ask::Assign(_)) {
                    for image in tables.images.values_mut() {
                        if image.state == ImageState::Baking {
                            image.state = ImageState::Retired;
                        }
                    }
                }
            },
            |was, now, step, _| {
                if matches!(step.ask, Ask::Assign(_)) {
                    now.images.clone_from(&was.images);
                }
            },
        ),
        meanwhile(
            "interrupted instances get users",
            |tables, step| {
                if matches!(step.ask, Ask::Assign(_)) {
                    let rows = tables.instances.values_mut();
                    rows.for_each(|row| row.notice = None);
                }
            },
            |was, now, step, _| {
                if matches!(step.ask, Ask::Assign(_)) {
                    now.instances.clone_from(&was.instances);
                }
            },
        ),
        asked("a developer's build is one like others", |_, step| {
            if let Ask::Assign(request) = &mut step.ask
                && request.client == ClientBuild::CurrentImage
            {
                request.client = ClientBuild::Sha("sha-of-ami-1".into());
            }
        }),
        asked("the regions' order does not matter", |_, step| {
            if let Ask::Assign(request) = &mut step.ask {
                request.regions.sort();
            }
        }),
    ]
}
