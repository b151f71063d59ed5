//! Rules of the line, each changed on purpose.

use jiff::{SignedDuration, Timestamp};
use shared::assign::AssignRequest;
use testing::{LineForecast, SlotStatus, Tables, UnservedUser, WaitingUser};

use super::MOMENT;
use crate::database::Flaw;
use crate::database::sides::{ENVIRONMENT, USER_LIMIT, to_text};
use crate::database::steps::{Action, Step};

pub(super) fn all() -> Vec<Flaw> {
    let mut flaws = of_order();
    flaws.extend(of_leaving());
    flaws.extend(of_answers());
    flaws.extend(of_forecasts());
    flaws.extend(of_served_users());
    flaws.extend(of_demand());
    flaws
}

fn request(step: &Step) -> Option<&AssignRequest> {
    match &step.action {
        Action::Assign(request) => Some(request),
        _ => None,
    }
}

/// Adds rows of others as they were, unless their users have left.
fn keep_asking(was: &Tables, now: &mut Tables, step: &Step, keeps: impl Fn(&WaitingUser) -> bool) {
    for (key, waits) in &was.waiting_users {
        if was.is_asking(&key.1, waits, step.at) && keeps(waits) {
            let kept = now.waiting_users.entry(key.clone());
            kept.or_insert_with(|| waits.clone());
        }
    }
}

/// What the right rule would have done with other tables or another request.
fn instead(
    was: &Tables,
    step: &Step,
    change: impl Fn(&mut Tables, &mut AssignRequest),
) -> Option<(Tables, String)> {
    let mut request = request(step)?.clone();
    let mut tables = was.clone();
    change(&mut tables, &mut request);
    let outcome = tables.assign_slot(&request, USER_LIMIT, ENVIRONMENT, step.at);
    Some((tables, to_text(Ok(outcome))))
}

fn of_order() -> Vec<Flaw> {
    vec![
        Flaw::wrong_meanwhile(
            "whoever asks while a slot is free gets it",
            |tables, step| {
                if let Some(request) = request(step) {
                    let user = request.user.as_str();
                    tables.waiting_users.retain(|(of, ..), _| of == user);
                }
            },
            |was, now, step, _| {
                if let Some(request) = request(step) {
                    let mut others = was.clone();
                    let user = request.user.as_str();
                    others.waiting_users.retain(|(of, ..), _| of != user);
                    keep_asking(&others, now, step, |_| true);
                }
            },
        ),
        Flaw::wrong_result(
            "as many slots as users ahead are enough",
            |was, now, step, answer| {
                let without_last = instead(was, step, |tables, request| {
                    let user = request.user.as_str();
                    let others = tables.waiting_users.iter();
                    let others = others.filter(|((of, ..), _)| of != user);
                    let last = others.max_by_key(|(_, waits)| waits.first_at);
                    if let Some(last) = last.map(|(key, _)| key.clone()) {
                        tables.waiting_users.remove(&last);
                    }
                });
                if let Some((tables, text)) = without_last
                    && answer.starts_with("Refused")
                    && text.starts_with("Assigned")
                {
                    *now = tables;
                    keep_asking(was, now, step, |_| true);
                    *answer = text;
                }
            },
        ),
        Flaw::wrong_meanwhile(
            "nobody is served while somebody is ahead",
            |tables, step| {
                let Some(request) = request(step) else { return };
                for region in &request.regions {
                    let sha = tables.line_of(region, &request.client);
                    let ahead =
                        sha.map(|sha| tables.ahead(request.user.as_str(), region, &sha, step.at));
                    if ahead.is_some_and(|ahead| ahead > 0) {
                        let here = tables.instances.iter();
                        let here = here.filter(|(_, row)| row.region == *region);
                        let here: Vec<_> = here.map(|(id, _)| id.clone()).collect();
                        tables.heartbeats.retain(|id, _| !here.contains(id));
                    }
                }
            },
            |was, now, step, _| {
                if request(step).is_some() {
                    now.heartbeats.clone_from(&was.heartbeats);
                }
            },
        ),
        Flaw::wrong_result(
            "whoever asks again goes to the end of the line",
            |_, now, step, _| {
                if request(step).is_some() {
                    let rows = now.waiting_users.values_mut();
                    rows.filter(|waits| waits.last_at == step.at)
                        .for_each(|waits| waits.first_at = waits.last_at);
                }
            },
        ),
        Flaw::wrong_result(
            "a user joins only the line of the nearest region",
            |_, now, step, _| {
                if request(step).is_some() {
                    now.waiting_users.retain(|(_, region, _), waits| {
                        waits.last_at < step.at || waits.regions.first() == Some(region)
                    });
                }
            },
        ),
        Flaw::wrong_result(
            "an older image is searched before the current one",
            |was, now, step, answer| {
                let other = instead(was, step, |tables, _| {
                    let images = tables.images.values_mut();
                    let newest = Timestamp::MAX;
                    for image in images.filter(|image| image.id.as_str() == "ami-1") {
                        image.since = newest;
                    }
                    // Both are served while none is current.
                    for image in tables.images.values_mut() {
                        if image.state == shared::model::ImageState::Current {
                            image.state = shared::model::ImageState::Baking;
                        }
                    }
                });
                let builds = request(step).map(|request| &request.client);
                if let Some((tables, text)) = other
                    && matches!(builds, Some(shared::assign::ClientBuild::Sha(_)))
                    && text.starts_with("Assigned")
                {
                    let images = now.images.clone();
                    *now = tables;
                    now.images = images;
                    *answer = text;
                }
            },
        ),
    ]
}

fn shift_requests(tables: &mut Tables, step: &Step, by: SignedDuration) {
    if let Some(request) = request(step) {
        let user = request.user.as_str();
        let others = tables.waiting_users.iter_mut();
        let others = others.filter(|((of, ..), _)| of != user);
        others.for_each(|(_, waits)| waits.last_at += by);
    }
}

fn of_leaving() -> Vec<Flaw> {
    vec![
        Flaw::wrong_meanwhile(
            "users who have left are waited for",
            |tables, step| {
                if request(step).is_some() {
                    let rows = tables.regions.values_mut();
                    rows.for_each(|row| row.settings.line_seconds = 3600);
                }
            },
            |was, now, step, _| {
                if request(step).is_some() {
                    now.regions.clone_from(&was.regions);
                }
            },
        ),
        Flaw::wrong_result(
            "a user who has left comes back to the old place",
            |was, now, step, _| {
                if request(step).is_some() {
                    for (key, waits) in &mut now.waiting_users {
                        if let Some(before) = was.waiting_users.get(key) {
                            waits.first_at = before.first_at;
                        }
                    }
                }
            },
        ),
        Flaw::wrong_meanwhile(
            "a user who asked line_seconds ago has left the line",
            |tables, step| shift_requests(tables, step, -MOMENT),
            |_, now, step, _| shift_requests(now, step, MOMENT),
        ),
        Flaw::wrong_meanwhile(
            "a user who asked a moment before that has not left",
            |tables, step| shift_requests(tables, step, MOMENT),
            |_, now, step, _| shift_requests(now, step, -MOMENT),
        ),
        Flaw::wrong_result(
            "users who have left are not forgotten",
            |was, now, step, _| {
                if request(step).is_some() {
                    for (key, waits) in &was.waiting_users {
                        let row = now.waiting_users.entry(key.clone());
                        row.or_insert_with(|| waits.clone());
                    }
                }
            },
        ),
        Flaw::wrong_result("passes forget nobody", |was, now, step, _| {
            if matches!(step.action, Action::BeginPass(_)) {
                now.waiting_users.clone_from(&was.waiting_users);
            }
        }),
        Flaw::wrong_result(
            "nobody is noted who left without a slot",
            |was, now, _, _| {
                now.unserved_users.clone_from(&was.unserved_users);
            },
        ),
        Flaw::wrong_result("a user who gets a slot has left", |was, now, step, _| {
            let Some(request) = request(step) else {
                return;
            };
            for (key, waits) in &was.waiting_users {
                let is_theirs = key.0 == request.user.as_str();
                if is_theirs && !now.waiting_users.contains_key(key) {
                    now.unserved_users.push(UnservedUser {
                        user: key.0.clone(),
                        region: key.1.clone(),
                        first_at: waits.first_at,
                        last_at: waits.last_at,
                        left_at: step.at,
                    });
                }
            }
        }),
    ]
}

/// Changes a number of the answer that has this name.
fn change_number(answer: &mut String, name: &str, change: impl Fn(u32) -> u32) {
    let Some(place) = answer.find(name).map(|place| place + name.len()) else {
        return;
    };
    let digits = answer[place..].chars().take_while(char::is_ascii_digit);
    let digits: String = digits.collect();
    if let Ok(number) = digits.parse() {
        let end = place + digits.len();
        answer.replace_range(place..end, &change(number).to_string());
    }
}

fn of_answers() -> Vec<Flaw> {
    vec![
        Flaw::wrong_result("the place counts only users ahead", |_, _, _, answer| {
            change_number(answer, "place: ", |place| place - 1);
        }),
        Flaw::wrong_result(
            "the place is that in the nearest region",
            |was, _, step, answer| {
                let nearest = instead(was, step, |tables, request| {
                    let client = request.client.clone();
                    request.regions.retain(|region| {
                        let row = tables.regions.get(region);
                        row.is_some_and(|row| row.settings.enabled)
                            && !tables.images_for(region, &client).is_empty()
                    });
                    request.regions.truncate(1);
                });
                if let Some((_, text)) = nearest
                    && answer.contains("NoInstanceAvailable")
                {
                    *answer = text;
                }
            },
        ),
        Flaw::wrong_result("an estimate is rounded down", |_, _, _, answer| {
            change_number(answer, "estimate_seconds: Some(", |seconds| {
                seconds.max(2) - 1
            });
        }),
    ]
}

fn change_forecasts(tables: &mut Tables, step: &Step, change: impl Fn(&mut LineForecast)) {
    if request(step).is_some() {
        tables.line_forecasts.values_mut().for_each(change);
    }
}

fn keep_forecasts(was: &Tables, now: &mut Tables, step: &Step, _: &mut String) {
    if request(step).is_some() {
        now.line_forecasts.clone_from(&was.line_forecasts);
    }
}

fn of_forecasts() -> Vec<Flaw> {
    vec![
        Flaw::wrong_meanwhile(
            "forecasts are believed for ever",
            |tables, step| {
                let at = step.at;
                change_forecasts(tables, step, |forecast| forecast.made_at = at);
            },
            keep_forecasts,
        ),
        Flaw::wrong_meanwhile(
            "a forecast of two minutes ago is not believed",
            |tables, step| change_forecasts(tables, step, |forecast| forecast.made_at -= MOMENT),
            keep_forecasts,
        ),
        Flaw::wrong_meanwhile(
            "a forecast of a moment before that is believed",
            |tables, step| change_forecasts(tables, step, |forecast| forecast.made_at += MOMENT),
            keep_forecasts,
        ),
        Flaw::wrong_meanwhile(
            "slots that were expected by now are expected again",
            |tables, step| {
                let at = step.at;
                change_forecasts(tables, step, |it| it.steps.retain(|(from, _)| *from > at));
            },
            keep_forecasts,
        ),
        Flaw::wrong_result(
            "forecasts of other commits are kept",
            |was, now, step, _| {
                if matches!(step.action, Action::Forecast(..)) {
                    for (key, forecast) in &was.line_forecasts {
                        let kept = now.line_forecasts.entry(key.clone());
                        kept.or_insert_with(|| forecast.clone());
                    }
                }
            },
        ),
        Flaw::wrong_step("a pass that lost its lock writes a forecast", |_, step| {
            if let Action::Forecast(fence, _) = &mut step.action {
                fence.version = fence.version.max(2);
            }
        }),
    ]
}

fn of_served_users() -> Vec<Flaw> {
    vec![
        Flaw::wrong_result("nobody knows how long a user waited", |_, now, _, _| {
            let slots = now.slots.values_mut();
            slots.for_each(|slot| slot.waited = SignedDuration::ZERO);
        }),
        Flaw::wrong_result(
            "a free slot says how long its user waited",
            |was, now, _, _| {
                for (id, slot) in &mut now.slots {
                    let before = was.slots.get(id);
                    if let Some(before) = before.filter(|_| slot.status == SlotStatus::Waiting) {
                        slot.waited = before.waited;
                    }
                }
            },
        ),
        Flaw::wrong_result(
            "a user who is served stays in other lines",
            |was, now, step, answer| {
                let user = request(step).map(|request| request.user.as_str());
                if let Some(user) = user
                    && answer.contains("repeated: false")
                {
                    let mut own = was.clone();
                    own.waiting_users.retain(|(of, region, _), _| {
                        of == user && !answer.contains(region.as_str())
                    });
                    keep_asking(&own, now, step, |_| true);
                }
            },
        ),
    ]
}

/// Only where users are counted.
fn change_rows(
    tables: &mut Tables,
    step: &Step,
    change: impl Fn(&(String, shared::ids::RegionName, shared::ids::ClientSha), &mut WaitingUser),
) {
    if matches!(step.action, Action::Observe(_)) {
        for (key, waits) in &mut tables.waiting_users {
            change(key, waits);
        }
    }
}

fn keep_rows(was: &Tables, now: &mut Tables, step: &Step, _: &mut String) {
    if matches!(step.action, Action::Observe(_)) {
        now.waiting_users.clone_from(&was.waiting_users);
        now.region_capacity.clone_from(&was.region_capacity);
    }
}

fn of_demand() -> Vec<Flaw> {
    vec![
        Flaw::wrong_meanwhile(
            "a user is demand in each of their regions",
            |tables, step| {
                change_rows(tables, step, |(_, region, _), waits| {
                    waits.regions = vec![region.clone()];
                });
            },
            keep_rows,
        ),
        Flaw::wrong_meanwhile(
            "users are demand where nothing can be launched",
            |tables, step| {
                if matches!(step.action, Action::Observe(_)) {
                    tables.region_capacity.clear();
                }
            },
            keep_rows,
        ),
        Flaw::wrong_meanwhile(
            "a region without capacity never has it again",
            |tables, step| {
                if matches!(step.action, Action::Observe(_)) {
                    let until = tables.region_capacity.values_mut();
                    until.for_each(|until| *until = Timestamp::MAX);
                }
            },
            keep_rows,
        ),
        Flaw::wrong_meanwhile(
            "a user with two clients is demand twice",
            |tables, step| {
                let lines: std::collections::BTreeMap<_, _> = tables
                    .regions
                    .keys()
                    .map(|region| (region.clone(), tables.line_time(region)))
                    .collect();
                let at = step.at;
                change_rows(tables, step, |(_, region, _), waits| {
                    if waits.last_at >= at - lines[region] {
                        waits.last_at = at;
                    }
                });
            },
            keep_rows,
        ),
    ]
}
