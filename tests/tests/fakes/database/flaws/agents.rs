//! Rules of host agents.

use testing::{SlotRow, SlotStatus};

use super::Flaw;
use crate::database::sides::REPORTED;
use crate::database::steps::{Action, launch_of};

pub(super) fn flaws() -> Vec<Flaw> {
    let mut flaws = of_hosts();
    flaws.extend(of_slots());
    flaws
}

fn of_hosts() -> Vec<Flaw> {
    vec![
        Flaw::wrong_step("any token may send heartbeats", |_, step| {
            if let Action::Heartbeat(id, launch) = &mut step.action {
                *launch = launch_of(id);
            }
        }),
        Flaw::wrong_step("any token may register an instance", |_, step| {
            if let Action::Register(id, launch) = &mut step.action {
                *launch = launch_of(id);
            }
        }),
        Flaw::wrong_result(
            "what the agent says is the address",
            |was, now, step, answer| {
                if let Action::Register(id, _) = &step.action
                    && answer.contains("Registered")
                    && was.instances[id].ip_addr.is_none()
                    && let Some(row) = now.instances.get_mut(id)
                {
                    row.ip_addr = Some(REPORTED.to_owned());
                }
            },
        ),
        Flaw::wrong_result(
            "users of every region get private addresses",
            |was, now, step, answer| {
                if let Action::Register(id, _) = &step.action
                    && answer.contains("Registered")
                    && was.instances[id].ip_addr.is_none()
                    && let Some(row) = now.instances.get_mut(id)
                {
                    row.ip_addr = row.private_ip.map(|ip| ip.to_string());
                }
            },
        ),
        Flaw::wrong_result(
            "an agent that waits for its address wakes nobody",
            |was, now, step, _| {
                if let Action::Register(..) = &step.action {
                    now.wakeups.clone_from(&was.wakeups);
                }
            },
        ),
        Flaw::wrong_meanwhile(
            "an agent that waits for its address always wakes its region",
            |tables, step| {
                if let Action::Register(..) = &step.action {
                    for fence in tables.fences.values_mut() {
                        fence.last_pass_at = None;
                    }
                }
            },
            |was, now, step, _| {
                if let Action::Register(..) = &step.action {
                    now.fences.clone_from(&was.fences);
                }
            },
        ),
        Flaw::wrong_result(
            "registering again makes new slots",
            |was, now, step, answer| {
                if let Action::Register(id, _) = &step.action
                    && answer.contains("Registered")
                    && was.slots.len() == now.slots.len()
                {
                    now.add_slot(SlotRow::waiting(id.clone()));
                }
            },
        ),
        Flaw::wrong_result(
            "registering again renews the heartbeat",
            |_, now, step, answer| {
                if let Action::Register(id, _) = &step.action
                    && answer.contains("Registered")
                    && let Some(row) = now.instances.get_mut(id)
                {
                    row.active_at = Some(step.at);
                }
            },
        ),
        Flaw::wrong_result(
            "terminating instances record heartbeats",
            |_, now, step, _| {
                if let Action::Beats(ids) = &step.action {
                    for id in ids {
                        if let Some(beat) = now.heartbeats.get_mut(id) {
                            beat.beat_at = step.at;
                        }
                    }
                }
            },
        ),
    ]
}

fn of_slots() -> Vec<Flaw> {
    vec![
        Flaw::wrong_step("any token may claim a slot", |tables, step| {
            if let Action::Claim { slot, launch, .. } = &mut step.action
                && let Some(slot) = tables.slots.get(slot)
            {
                *launch = launch_of(&slot.instance_id);
            }
        }),
        Flaw::wrong_step("any user may claim a slot", |tables, step| {
            if let Action::Claim {
                slot,
                user,
                session,
                ..
            } = &mut step.action
                && let Some(owner) = tables.slots.get(slot).and_then(|s| s.user.clone())
            {
                (*user, *session) = owner;
            }
        }),
        Flaw::wrong_result(
            "a slot may end before it is claimed",
            |_, now, step, answer| {
                if let Action::Report(id, SlotStatus::Dying, _) = &step.action
                    && answer.contains("Refused")
                    && let Some(slot) = now.slots.get_mut(id)
                    && slot.status == SlotStatus::Allocated
                {
                    slot.status = SlotStatus::Dying;
                }
            },
        ),
        Flaw::wrong_result(
            "a leaving instance gets new slots",
            |was, now, step, answer| {
                if let Action::Replace(slot, _) = &step.action
                    && answer.contains("Removed")
                {
                    let host = was.slots[slot].instance_id.clone();
                    now.add_slot(SlotRow::waiting(host));
                }
            },
        ),
    ]
}
