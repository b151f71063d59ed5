//! Rules of intents, refusals and decisions.

use jiff::SignedDuration;
use testing::Items;

use super::{Flaw, asked, left};
use crate::store::steps::{Ask, Step};

const MOMENT: SignedDuration = SignedDuration::from_micros(1);

pub(super) fn flaws() -> Vec<Flaw> {
    let mut flaws = of_intents();
    flaws.extend(of_refusals());
    flaws
}

fn of_intents() -> Vec<Flaw> {
    vec![
        asked("whoever lost the lock opens intents", |items, step| {
            if matches!(step.ask, Ask::Open(..)) {
                hold(items, step);
            }
        }),
        asked("whoever lost the lock closes intents", |items, step| {
            if matches!(step.ask, Ask::Close(..)) {
                hold(items, step);
            }
        }),
        asked("whoever lost the lock records decisions", |items, step| {
            if matches!(step.ask, Ask::Decide(..)) {
                hold(items, step);
            }
        }),
        left(
            "an intent that is closed stays open",
            |was, now, step, _| {
                if let Ask::Close(lease, _) = &step.ask {
                    now.of(&lease.region).open = was.of(&lease.region).open;
                }
            },
        ),
        left(
            "an intent opened again is the first",
            |was, now, step, _| {
                if let Ask::Open(lease, intent) = &step.ask
                    && let Some(first) = was.of(&lease.region).open.get(&intent.launch_id)
                {
                    let open = &mut now.of(&lease.region).open;
                    open.insert(intent.launch_id.clone(), first.clone());
                }
            },
        ),
        left("a closed intent cannot be opened", |was, now, step, _| {
            if let Ask::Open(lease, intent) = &step.ask {
                let mut closed = was.of(&lease.region).closed.into_iter();
                if closed.any(|closing| closing.launch_id == intent.launch_id) {
                    now.of(&lease.region).open = was.of(&lease.region).open;
                }
            }
        }),
        left(
            "of two ends of an intent the first counts",
            |was, now, step, _| {
                if let Ask::Close(lease, closing) = &step.ask {
                    let mut closed = was.of(&lease.region).closed.into_iter();
                    if closed.any(|before| before.launch_id == closing.launch_id) {
                        now.of(&lease.region).closed = was.of(&lease.region).closed;
                    }
                }
            },
        ),
        left("of two decisions the first counts", |was, now, step, _| {
            if let Ask::Decide(lease, decision) = &step.ask
                && let Some(first) = was.of(&lease.region).decisions.get(&decision.version)
            {
                let decisions = &mut now.of(&lease.region).decisions;
                decisions.insert(decision.version, first.clone());
            }
        }),
    ]
}

/// The lock is the step's.
fn hold(items: &mut Items, step: &mut Step) {
    if let Some(lease) = step.ask.lease_mut()
        && let Some(held) = &items.of(&lease.region).lock
    {
        lease.owner = held.owner.clone();
        lease.version = held.version;
    }
}

fn of_refusals() -> Vec<Flaw> {
    vec![
        left("of two refusals the first counts", |was, now, step, _| {
            if let Ask::Close(lease, _) = &step.ask {
                let first = was.of(&lease.region).refusals;
                now.of(&lease.region).refusals.extend(first);
            }
        }),
        Flaw {
            name: "a refusal runs out a moment early",
            before: |items, step| shift(items, step, -MOMENT),
            after: |_, items, step, answer| unshift(items, step, answer, MOMENT),
        },
        Flaw {
            name: "a refusal runs out a moment late",
            before: |items, step| shift(items, step, MOMENT),
            after: |_, items, step, answer| unshift(items, step, answer, -MOMENT),
        },
        left(
            "a refusal that has run out is forgotten",
            |was, now, step, _| {
                if let Ask::Memory(region) = &step.ask {
                    let mut refusals = was.of(region).refusals;
                    refusals.retain(|_, refusal| refusal.until > step.at);
                    now.of(region).refusals = refusals;
                }
            },
        ),
    ]
}

fn shift(items: &mut Items, step: &Step, by: SignedDuration) {
    if let Ask::Memory(region) = &step.ask {
        let refusals = items.of(region).refusals.values_mut();
        refusals.for_each(|refusal| refusal.until += by);
    }
}

/// The answer shows the right times: only which are shown is wrong.
fn unshift(items: &mut Items, step: &Step, answer: &mut String, by: SignedDuration) {
    if let Ask::Memory(region) = &step.ask {
        for refusal in items.of(region).refusals.values_mut() {
            let shown = refusal.until.to_string();
            refusal.until += by;
            *answer = answer.replace(&shown, &refusal.until.to_string());
        }
    }
}
