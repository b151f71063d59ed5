//! Rules of a pass's writes.

use jiff::SignedDuration;
use shared::model::TerminateIf;
use shared::model::{DrainCause, InstanceStatus};
use testing::SlotStatus;

use super::{Flaw, change_slots};
use crate::database::steps::Action;

pub(super) fn flaws() -> Vec<Flaw> {
    let mut flaws = of_fences();
    flaws.extend(of_endings());
    flaws.extend(of_listings());
    flaws
}

fn of_fences() -> Vec<Flaw> {
    vec![
        Flaw::wrong_result(
            "only the beginning of a pass raises the fence",
            |was, now, step, _| {
                if !matches!(step.action, Action::BeginPass(_)) {
                    now.fences.clone_from(&was.fences);
                }
            },
        ),
        Flaw::wrong_result("an unknown region has no fence", |_, now, _, _| {
            now.fences.remove(&"nowhere".into());
        }),
    ]
}

fn of_endings() -> Vec<Flaw> {
    vec![
        Flaw::wrong_meanwhile(
            "instances of other regions are drained",
            |tables, step| {
                if let Action::Drain(fence, ..) = &step.action {
                    let rows = tables.instances.values_mut();
                    rows.for_each(|row| row.region.clone_from(&fence.region));
                }
            },
            |was, now, step, _| {
                if matches!(step.action, Action::Drain(..)) {
                    for (id, row) in &mut now.instances {
                        row.region.clone_from(&was.instances[id].region);
                    }
                }
            },
        ),
        Flaw::wrong_meanwhile(
            "occupied instances are drained",
            |tables, step| {
                if matches!(step.action, Action::Drain(..)) {
                    change_slots(tables, |slot| slot.status = SlotStatus::Waiting);
                }
            },
            |was, now, step, _| {
                if matches!(step.action, Action::Drain(..)) {
                    now.slots.clone_from(&was.slots);
                }
            },
        ),
        Flaw::wrong_meanwhile(
            "occupied instances with a notice are not drained",
            |tables, step| {
                if matches!(step.action, Action::Drain(..)) {
                    let rows = tables.instances.values_mut();
                    rows.for_each(|row| row.notice = None);
                }
            },
            |was, now, step, _| {
                if matches!(step.action, Action::Drain(..)) {
                    for (id, row) in &mut now.instances {
                        row.notice = was.instances[id].notice;
                    }
                }
            },
        ),
        Flaw::wrong_meanwhile(
            "instances whose agents know of the drain are reopened",
            |tables, step| {
                if matches!(step.action, Action::Reopen(..)) {
                    for (id, beat) in &mut tables.heartbeats {
                        let since = tables.instances[id].draining_since;
                        let before = since.map(|since| since - SignedDuration::from_micros(1));
                        beat.beat_at = before.unwrap_or(beat.beat_at).min(beat.beat_at);
                    }
                }
            },
            |was, now, step, _| {
                if matches!(step.action, Action::Reopen(..)) {
                    now.heartbeats.clone_from(&was.heartbeats);
                }
            },
        ),
        Flaw::wrong_meanwhile(
            "drains of every cause are taken back",
            |tables, step| {
                if matches!(step.action, Action::Reopen(..)) {
                    let rows = tables.instances.values_mut();
                    rows.for_each(|row| {
                        row.drain_cause = row.drain_cause.map(|_| DrainCause::Surplus);
                    });
                }
            },
            |was, now, step, _| {
                for (id, row) in &mut now.instances {
                    if matches!(step.action, Action::Reopen(..))
                        && row.status == InstanceStatus::Draining
                    {
                        row.drain_cause = was.instances[id].drain_cause;
                    }
                }
            },
        ),
        Flaw::wrong_result(
            "the last notice replaces an interruption",
            |_, now, step, answer| {
                if let Action::GiveNotice(id, notice) = &step.action
                    && answer == "Already"
                    && let Some(row) = now.instances.get_mut(id)
                {
                    row.notice = Some(*notice);
                }
            },
        ),
        Flaw::wrong_meanwhile(
            "empty ACTIVE instances are terminated",
            |tables, step| {
                if matches!(step.action, Action::Terminate(_, _, TerminateIf::Empty)) {
                    for row in tables.instances.values_mut() {
                        if row.status == InstanceStatus::Active {
                            row.status = InstanceStatus::Draining;
                        }
                    }
                }
            },
            |was, now, step, _| {
                for (id, row) in &mut now.instances {
                    let ended = row.status == InstanceStatus::Terminating;
                    if matches!(step.action, Action::Terminate(..)) && !ended {
                        row.status = was.instances[id].status;
                    }
                }
            },
        ),
        Flaw::wrong_result(
            "sessions stay open after their instance",
            |was, now, step, _| {
                if matches!(step.action, Action::Terminate(..)) {
                    now.slots.clone_from(&was.slots);
                }
            },
        ),
        Flaw::wrong_result(
            "a removed instance leaves its heartbeat",
            |was, now, _, _| {
                for (id, beat) in &was.heartbeats {
                    now.heartbeats.entry(id.clone()).or_insert(*beat);
                }
            },
        ),
    ]
}

fn of_listings() -> Vec<Flaw> {
    vec![
        Flaw::wrong_step(
            "an instance both missing and present is missing",
            |_, step| {
                if let Action::NoteMissing(_, missing, present) = &mut step.action {
                    present.retain(|id| !missing.contains(id));
                }
            },
        ),
        Flaw::wrong_result(
            "missing is counted from the last pass",
            |was, now, step, answer| {
                let Action::NoteMissing(_, missing, _) = &step.action else {
                    return;
                };
                for id in missing {
                    let before = was.instances.get(id).and_then(|row| row.missing_since);
                    if let Some(row) = now.instances.get_mut(id)
                        && row.missing_since == before
                        && before.is_some()
                        && !answer.contains("Fenced")
                    {
                        row.missing_since = Some(step.at);
                    }
                }
            },
        ),
        Flaw::wrong_result("a new address does not reach users", |was, now, step, _| {
            if let Action::NoteAddresses(..) = &step.action {
                for (id, row) in &mut now.instances {
                    row.ip_addr.clone_from(&was.instances[id].ip_addr);
                }
            }
        }),
        Flaw::wrong_result(
            "users have an address before the registration",
            |was, now, step, answer| {
                if let Action::NoteAddresses(_, addresses) = &step.action
                    && answer.contains("Done")
                {
                    for new in addresses {
                        let before = was.instances.get(&new.id).map(|row| &row.ip_addr);
                        if let Some(row) = now.instances.get_mut(&new.id)
                            && before == Some(&None)
                        {
                            row.ip_addr = row.private_ip.map(|ip| ip.to_string());
                        }
                    }
                }
            },
        ),
        Flaw::wrong_result(
            "an address that EC2 takes away is taken from users",
            |_, now, step, answer| {
                if let Action::NoteAddresses(_, addresses) = &step.action
                    && !answer.contains("Fenced")
                {
                    for new in addresses {
                        if let Some(row) = now.instances.get_mut(&new.id)
                            && new.private_ip.is_none()
                            && row.private_ip.is_none()
                        {
                            row.ip_addr = None;
                        }
                    }
                }
            },
        ),
        Flaw::wrong_result(
            "a released slot keeps its claim time",
            |was, now, step, _| {
                if matches!(step.action, Action::Release(_)) {
                    for (id, slot) in &mut now.slots {
                        slot.allocated_at = was.slots[id].allocated_at;
                    }
                }
            },
        ),
    ]
}
