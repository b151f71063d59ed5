//! Rules of intents, refusals and decisions.

use jiff::SignedDuration;
use shared::ids::LaunchId;
use shared::model::Refusal;
use testing::Items;

use super::Flaw;
use crate::store::steps::{Action, Step};

const MOMENT: SignedDuration = SignedDuration::from_micros(1);

pub(super) fn flaws() -> Vec<Flaw> {
    let mut flaws = of_intents();
    flaws.extend(of_refusals());
    flaws
}

fn of_intents() -> Vec<Flaw> {
    vec![
        Flaw::wrong_step("a lost lock may open intents", |items, step| {
            if matches!(step.action, Action::Open(..)) {
                hold(items, step);
            }
        }),
        Flaw::wrong_step("a lost lock may close intents", |items, step| {
            if matches!(step.action, Action::Close(..)) {
                hold(items, step);
            }
        }),
        Flaw::wrong_step("a lost lock may record decisions", |items, step| {
            if matches!(step.action, Action::Decide(..)) {
                hold(items, step);
            }
        }),
        Flaw::wrong_result("a closed intent stays open", |was, now, step, _| {
            if let Action::Close(lease, ..) = &step.action {
                now.of(&lease.region).open = was.of(&lease.region).open;
            }
        }),
        Flaw::wrong_result(
            "an intent opened again keeps the first request",
            |was, now, step, _| {
                if let Action::Open(lease, ..) = &step.action {
                    let first = was.of(&lease.region).open;
                    now.of(&lease.region).open.extend(first);
                }
            },
        ),
        Flaw::wrong_result("a closed intent cannot be opened", |was, now, step, _| {
            if let Action::Open(lease, ..) = &step.action {
                let was = was.of(&lease.region);
                let is_closed = |launch: &LaunchId| {
                    was.closed
                        .iter()
                        .any(|closure| closure.launch_id == *launch)
                };
                let open = &mut now.of(&lease.region).open;
                open.retain(|launch, _| was.open.contains_key(launch) || !is_closed(launch));
            }
        }),
        Flaw::wrong_result(
            "the first closure of an intent counts",
            |was, now, step, _| {
                if let Action::Close(lease, ..) = &step.action {
                    let first = was.of(&lease.region).closed;
                    now.of(&lease.region).closed.extend(first);
                }
            },
        ),
        Flaw::wrong_result("the first of two decisions counts", |was, now, step, _| {
            if let Action::Decide(lease, decision) = &step.action
                && let Some(first) = was.of(&lease.region).decisions.get(&decision.version)
            {
                let decisions = &mut now.of(&lease.region).decisions;
                decisions.insert(decision.version, first.clone());
            }
        }),
    ]
}

/// Makes the step's lease the lock.
fn hold(items: &mut Items, step: &mut Step) {
    if let Some(lease) = step.action.lease_mut()
        && let Some(held) = &items.of(&lease.region).lock
    {
        lease.owner = held.owner.clone();
        lease.version = held.version;
    }
}

fn of_refusals() -> Vec<Flaw> {
    vec![
        Flaw::wrong_result("the first of two refusals counts", |was, now, step, _| {
            if let Action::Close(lease, ..) = &step.action {
                let first = was.of(&lease.region).refusals;
                now.of(&lease.region).refusals.extend(first);
            }
        }),
        Flaw::wrong_result("a refusal is not forgotten", |was, now, step, _| {
            if let Action::Refuse(lease, refused, forgotten) = &step.action {
                let kept = was.of(&lease.region).refusals;
                let is_forgotten = |refusal: &Refusal| {
                    let is_same = |other: &&Refusal| other.key() == refusal.key();
                    forgotten.iter().any(|other| is_same(&other))
                        && !refused.iter().any(|other| is_same(&other))
                };
                let kept = kept
                    .into_iter()
                    .filter(|(_, refusal)| is_forgotten(refusal));
                now.of(&lease.region).refusals.extend(kept);
            }
        }),
        Flaw::wrong_result(
            "the tally of launches is not stored",
            |was, now, step, _| {
                if let Action::Open(lease, ..) = &step.action {
                    let before = was.of(&lease.region).launches;
                    now.of(&lease.region).launches = before;
                }
            },
        ),
        Flaw {
            name: "a refusal expires a moment early",
            before: |items, step| shift(items, step, -MOMENT),
            after: |_, items, step, answer| unshift(items, step, answer, MOMENT),
        },
        Flaw {
            name: "a refusal expires a moment late",
            before: |items, step| shift(items, step, MOMENT),
            after: |_, items, step, answer| unshift(items, step, answer, -MOMENT),
        },
        Flaw::wrong_result("an expired refusal is deleted", |was, now, step, _| {
            if let Action::ReadState(region) = &step.action {
                let mut refusals = was.of(region).refusals;
                refusals.retain(|_, refusal| refusal.remembered_until() > step.at);
                now.of(region).refusals = refusals;
            }
        }),
    ]
}

fn shift(items: &mut Items, step: &Step, by: SignedDuration) {
    if let Action::ReadState(region) = &step.action {
        let refusals = items.of(region).refusals.values_mut();
        refusals.for_each(|refusal| refusal.until += by);
    }
}

/// Restores the times in the answer: only the choice of refusals is wrong.
fn unshift(items: &mut Items, step: &Step, answer: &mut String, by: SignedDuration) {
    if let Action::ReadState(region) = &step.action {
        for refusal in items.of(region).refusals.values_mut() {
            let shown = refusal.until.to_string();
            refusal.until += by;
            *answer = answer.replace(&shown, &refusal.until.to_string());
        }
    }
}
