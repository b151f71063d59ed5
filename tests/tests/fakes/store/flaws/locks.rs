//! Rules of the lock, wake marks and event ids.

use shared::lock::CLOCK_MARGIN;
use testing::Items;

use super::{Flaw, Was, lost};
use crate::store::steps::{Action, Step};

pub(super) fn flaws() -> Vec<Flaw> {
    let mut flaws = of_acquiring();
    flaws.extend(of_holders());
    flaws.extend(of_marks());
    flaws
}

fn of_acquiring() -> Vec<Flaw> {
    vec![
        Flaw {
            name: "a lease ends for others without a margin",
            before: |items, step| shift(items, step, -2_000),
            after: |was, now, step, answer| unshift(was, now, step, answer, 2_000),
        },
        Flaw {
            name: "a lease ends for others a moment early",
            before: |items, step| shift(items, step, -1),
            after: |was, now, step, answer| unshift(was, now, step, answer, 1),
        },
        Flaw {
            name: "a lease ends for others a moment late",
            before: |items, step| shift(items, step, 1),
            after: |was, now, step, answer| unshift(was, now, step, answer, -1),
        },
        Flaw::wrong_result("a lock that has ended is held", |was, _, step, answer| {
            if let Action::IsHeld(region) = &step.action
                && was.of(region).lock.is_some()
            {
                *answer = "Ok(true)".to_owned();
            }
        }),
        Flaw::wrong_result("a repeated attempt is refused", |was, _, step, answer| {
            if let Action::Acquire(region, owner, _) = &step.action
                && let Some(held) = was.of(region).lock
                && held.owner == *owner
                && answer.contains(&format!("version: {},", held.version))
            {
                *answer = "refused".to_owned();
            }
        }),
        Flaw::wrong_result(
            "a repeated attempt renews the lease",
            |was, now, step, _| {
                if let Action::Acquire(region, owner, lease) = &step.action
                    && let Some(before) = was.of(region).lock
                    && let Some(held) = &mut now.of(region).lock
                    && before.owner == *owner
                    && before.version == held.version
                {
                    held.expires_at = (step.at + *lease).as_millisecond();
                }
            },
        ),
        Flaw::wrong_result("a version is used again", |was, now, step, _| {
            if let Action::Acquire(region, ..) = &step.action
                && let Some(before) = was.of(region).lock
                && let Some(held) = &mut now.of(region).lock
            {
                held.version = before.version;
            }
        }),
    ]
}

/// Shifts the end of the lease as others see it.
fn shift(items: &mut Items, step: &Step, by: i64) {
    if let Action::Acquire(region, owner, _) = &step.action
        && let Some(held) = &mut items.of(region).lock
        && held.owner != *owner
    {
        held.expires_at += by;
    }
}

/// Restores the items where the lock was not acquired.
fn unshift(was: &Was, now: &mut Items, step: &Step, answer: &mut String, by: i64) {
    if let Action::Acquire(region, owner, _) = &step.action
        && answer.contains("Held")
        && let Some(held) = &mut now.of(region).lock
        && held.owner != *owner
    {
        let seen = was.of(region).lock.unwrap().expires_at - by;
        held.expires_at += by;
        let time = |at| jiff::Timestamp::from_millisecond(at).unwrap().to_string();
        *answer = answer.replace(&time(seen), &time(held.expires_at));
    }
}

fn of_holders() -> Vec<Flaw> {
    vec![
        Flaw::wrong_result("a release deletes the lock", |_, now, step, answer| {
            if let Action::Release(lease) = &step.action
                && answer.starts_with("Ok")
            {
                now.of(&lease.region).lock = None;
            }
        }),
        Flaw::wrong_result("a lock cannot be released twice", |was, _, step, answer| {
            if let Action::Release(lease) = &step.action
                && was
                    .of(&lease.region)
                    .lock
                    .is_some_and(|held| held.expires_at == 0)
            {
                *answer = lost(&step.action);
            }
        }),
        Flaw::wrong_step("any owner may release a lock", |items, step| {
            let held = step
                .action
                .lease()
                .and_then(|lease| items.of(&lease.region).lock.clone());
            if let (Action::Release(lease), Some(held)) = (&mut step.action, held) {
                lease.owner = held.owner;
                lease.version = held.version;
            }
        }),
        Flaw::wrong_step("the holder's version is not checked", |items, step| {
            let held = step
                .action
                .lease()
                .and_then(|lease| items.of(&lease.region).lock.clone());
            if let (Some(lease), Some(held)) = (step.action.lease_mut(), held)
                && lease.owner == held.owner
            {
                lease.version = held.version;
            }
        }),
        Flaw::wrong_result(
            "an expired lease has lost the lock",
            |was, _, step, answer| {
                if let Some(lease) = step.action.lease()
                    && was.holds(&step.action)
                    && let Some(held) = was.of(&lease.region).lock
                    && held.expires_at < (step.at - CLOCK_MARGIN).as_millisecond()
                {
                    *answer = lost(&step.action);
                }
            },
        ),
        Flaw::wrong_result(
            "advancing past the fence renews the lease",
            |_, now, step, answer| {
                if let Action::AdvancePastFence(lease, _) = &step.action
                    && answer.starts_with("Ok")
                    && let Some(held) = &mut now.of(&lease.region).lock
                {
                    held.expires_at = lease.expires_at.as_millisecond();
                }
            },
        ),
        Flaw::wrong_result(
            "advancing past the fence never lowers a version",
            |was, now, step, answer| {
                if let Action::AdvancePastFence(lease, _) = &step.action
                    && answer.starts_with("Ok")
                    && let Some(held) = &mut now.of(&lease.region).lock
                {
                    let before = was.of(&lease.region).lock.unwrap().version;
                    held.version = held.version.max(before);
                }
            },
        ),
    ]
}

fn of_marks() -> Vec<Flaw> {
    vec![
        Flaw::wrong_result("a late clearing removes a later mark", |_, now, step, _| {
            if let Action::Clear(region, _) = &step.action {
                now.of(region).wake_mark = None;
            }
        }),
        Flaw::wrong_result("a clearing removes nothing", |was, now, step, _| {
            if let Action::Clear(region, _) = &step.action {
                now.of(region).wake_mark = was.of(region).wake_mark;
            }
        }),
        Flaw::wrong_result("a mark that is set stays", |was, now, step, _| {
            if let Action::Mark(region, _) = &step.action
                && let Some(mark) = was.of(region).wake_mark
            {
                now.of(region).wake_mark = Some(mark);
            }
        }),
        Flaw::wrong_result("a mark set again keeps its id", |was, now, step, _| {
            if let Action::Mark(region, _) = &step.action
                && let Some(before) = was.of(region).wake_mark
                && let Some(mark) = &mut now.of(region).wake_mark
            {
                mark.id = before.id;
            }
        }),
        Flaw::wrong_result("a mark applies to every region", |_, now, step, _| {
            if let Action::Mark(region, _) = &step.action {
                let mark = now.of(region).wake_mark.clone();
                for items in now.regions.values_mut() {
                    items.wake_mark.clone_from(&mark);
                }
            }
        }),
        Flaw::wrong_result("an event is never seen", |_, _, step, answer| {
            if matches!(step.action, Action::RecordSeen(_)) {
                *answer = answer.replace("false", "true");
            }
        }),
        Flaw::wrong_result(
            "checking an event records it as seen",
            |was, now, step, _| {
                if let Action::IsSeen(id) = &step.action
                    && !was.seen.contains(id)
                {
                    now.seen.insert(id.clone());
                }
            },
        ),
    ]
}
