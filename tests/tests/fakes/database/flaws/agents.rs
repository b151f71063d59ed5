//! Rules for host agents.

use testing::{SlotRow, SlotStatus};

use super::{Flaw, asked, left};
use crate::database::steps::{Ask, launch_of};

pub(super) fn flaws() -> Vec<Flaw> {
    let mut flaws = of_hosts();
    flaws.extend(of_slots());
    flaws
}

fn of_hosts() -> Vec<Flaw> {
    vec![
        asked("anybody's token is good for beats", |_, step| {
            if let Ask::Heartbeat(id, launch) = &mut step.ask {
                *launch = launch_of(id);
            }
        }),
        asked("anybody's token is good for registering", |_, step| {
            if let Ask::Register(id, launch) = &mut step.ask {
                *launch = launch_of(id);
            }
        }),
        left(
            "registering again makes new slots",
            |was, now, step, answer| {
                if let Ask::Register(id, _) = &step.ask
                    && answer.contains("Registered")
                    && was.slots.len() == now.slots.len()
                {
                    now.add_slot(SlotRow::waiting(id.clone()));
                }
            },
        ),
        left(
            "registering again renews the time",
            |_, now, step, answer| {
                if let Ask::Register(id, _) = &step.ask
                    && answer.contains("Registered")
                    && let Some(row) = now.instances.get_mut(id)
                {
                    row.active_at = Some(step.at);
                }
            },
        ),
        left("given-up instances beat on", |_, now, step, _| {
            if let Ask::Beats(ids) = &step.ask {
                for id in ids {
                    if let Some(beat) = now.heartbeats.get_mut(id) {
                        beat.beat_at = step.at;
                    }
                }
            }
        }),
    ]
}

fn of_slots() -> Vec<Flaw> {
    vec![
        asked("anybody's token is good for claims", |tables, step| {
            if let Ask::Claim { slot, launch, .. } = &mut step.ask
                && let Some(slot) = tables.slots.get(slot)
            {
                *launch = launch_of(&slot.instance_id);
            }
        }),
        asked("whoever comes may claim a slot", |tables, step| {
            if let Ask::Claim {
                slot,
                user,
                session,
                ..
            } = &mut step.ask
                && let Some(owner) = tables.slots.get(slot).and_then(|s| s.user.clone())
            {
                (*user, *session) = owner;
            }
        }),
        left(
            "a slot may end before it is claimed",
            |_, now, step, answer| {
                if let Ask::Report(id, SlotStatus::Dying, _) = &step.ask
                    && answer.contains("Refused")
                    && let Some(slot) = now.slots.get_mut(id)
                    && slot.status == SlotStatus::Allocated
                {
                    slot.status = SlotStatus::Dying;
                }
            },
        ),
        left(
            "an instance on its way out gets new slots",
            |was, now, step, answer| {
                if let Ask::Replace(slot, _) = &step.ask
                    && answer.contains("Removed")
                {
                    let host = was.slots[slot].instance_id.clone();
                    now.add_slot(SlotRow::waiting(host));
                }
            },
        ),
    ]
}
