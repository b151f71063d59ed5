//! Rules of the lock, of wake marks and of events' ids.

use shared::lock::CLOCK_MARGIN;
use testing::Items;

use super::{Flaw, Was, asked, left, lost};
use crate::store::steps::{Ask, Step};

pub(super) fn flaws() -> Vec<Flaw> {
    let mut flaws = of_acquiring();
    flaws.extend(of_holders());
    flaws.extend(of_marks());
    flaws
}

fn of_acquiring() -> Vec<Flaw> {
    vec![
        Flaw {
            name: "a lease is over for others when it ends",
            before: |items, step| shift(items, step, -2_000),
            after: |was, now, step, answer| unshift(was, now, step, answer, 2_000),
        },
        Flaw {
            name: "a lease is over for others a moment early",
            before: |items, step| shift(items, step, -1),
            after: |was, now, step, answer| unshift(was, now, step, answer, 1),
        },
        Flaw {
            name: "a lease is over for others a moment late",
            before: |items, step| shift(items, step, 1),
            after: |was, now, step, answer| unshift(was, now, step, answer, -1),
        },
        left("whoever asks again is refused", |was, _, step, answer| {
            if let Ask::Acquire(region, owner, _) = &step.ask
                && let Some(held) = was.of(region).lock
                && held.owner == *owner
                && answer.contains(&format!("version: {},", held.version))
            {
                *answer = "refused".to_owned();
            }
        }),
        left(
            "whoever asks again has its lease renewed",
            |was, now, step, _| {
                if let Ask::Acquire(region, owner, lease) = &step.ask
                    && let Some(before) = was.of(region).lock
                    && let Some(held) = &mut now.of(region).lock
                    && before.owner == *owner
                    && before.version == held.version
                {
                    held.expires_at = (step.at + *lease).as_millisecond();
                }
            },
        ),
        left("a version is used again", |was, now, step, _| {
            if let Ask::Acquire(region, ..) = &step.ask
                && let Some(before) = was.of(region).lock
                && let Some(held) = &mut now.of(region).lock
            {
                held.version = before.version;
            }
        }),
    ]
}

/// Others see another end of the lease.
fn shift(items: &mut Items, step: &Step, by: i64) {
    if let Ask::Acquire(region, owner, _) = &step.ask
        && let Some(held) = &mut items.of(region).lock
        && held.owner != *owner
    {
        held.expires_at += by;
    }
}

/// Where the lock was not taken, all is as before.
fn unshift(was: &Was, now: &mut Items, step: &Step, answer: &mut String, by: i64) {
    if let Ask::Acquire(region, owner, _) = &step.ask
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
        left("a released lock is forgotten", |_, now, step, answer| {
            if let Ask::Release(lease) = &step.ask
                && answer.starts_with("Ok")
            {
                now.of(&lease.region).lock = None;
            }
        }),
        left("a lock cannot be released twice", |was, _, step, answer| {
            if let Ask::Release(lease) = &step.ask
                && was
                    .of(&lease.region)
                    .lock
                    .is_some_and(|held| held.expires_at == 0)
            {
                *answer = lost(&step.ask);
            }
        }),
        asked("anybody may release a lock", |items, step| {
            let held = step
                .ask
                .lease()
                .and_then(|lease| items.of(&lease.region).lock.clone());
            if let (Ask::Release(lease), Some(held)) = (&mut step.ask, held) {
                lease.owner = held.owner;
                lease.version = held.version;
            }
        }),
        asked("the version does not matter to its owner", |items, step| {
            let held = step
                .ask
                .lease()
                .and_then(|lease| items.of(&lease.region).lock.clone());
            if let (Some(lease), Some(held)) = (step.ask.lease_mut(), held)
                && lease.owner == held.owner
            {
                lease.version = held.version;
            }
        }),
        left(
            "whose lease has ended has lost the lock",
            |was, _, step, answer| {
                if let Some(lease) = step.ask.lease()
                    && was.holds(&step.ask)
                    && let Some(held) = was.of(&lease.region).lock
                    && held.expires_at < (step.at - CLOCK_MARGIN).as_millisecond()
                {
                    *answer = lost(&step.ask);
                }
            },
        ),
        left("outbidding renews the lease", |_, now, step, answer| {
            if let Ask::Outbid(lease, _) = &step.ask
                && answer.starts_with("Ok")
                && let Some(held) = &mut now.of(&lease.region).lock
            {
                held.expires_at = lease.expires_at.as_millisecond();
            }
        }),
        left(
            "outbidding never lowers a version",
            |was, now, step, answer| {
                if let Ask::Outbid(lease, _) = &step.ask
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
        left("a late clearing takes a later mark", |_, now, step, _| {
            if let Ask::Clear(region, _) = &step.ask {
                now.of(region).wake_mark = None;
            }
        }),
        left("a clearing clears nothing", |was, now, step, _| {
            if let Ask::Clear(region, _) = &step.ask {
                now.of(region).wake_mark = was.of(region).wake_mark;
            }
        }),
        left("a mark that is set stays", |was, now, step, _| {
            if let Ask::Mark(region, _) = &step.ask
                && let Some(mark) = was.of(region).wake_mark
            {
                now.of(region).wake_mark = Some(mark);
            }
        }),
        left("a mark set again is the same", |was, now, step, _| {
            if let Ask::Mark(region, _) = &step.ask
                && let Some(before) = was.of(region).wake_mark
                && let Some(mark) = &mut now.of(region).wake_mark
            {
                mark.id = before.id;
            }
        }),
        left("marks are no region's", |_, now, step, _| {
            if let Ask::Mark(region, _) = &step.ask {
                let mark = now.of(region).wake_mark.clone();
                for items in now.regions.values_mut() {
                    items.wake_mark.clone_from(&mark);
                }
            }
        }),
        left("an event is new every time", |_, _, step, answer| {
            if matches!(step.ask, Ask::RecordSeen(_)) {
                *answer = answer.replace("false", "true");
            }
        }),
        left(
            "whoever asks for an event has seen it",
            |was, now, step, _| {
                if let Ask::IsSeen(id) = &step.ask
                    && !was.seen.contains(id)
                {
                    now.seen.insert(id.clone());
                }
            },
        ),
    ]
}
