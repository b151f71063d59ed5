//! Rules of what passes write.

use shared::model::InstanceStatus;
use shared::model::TerminateIf;
use testing::SlotStatus;

use super::{Flaw, asked, change_slots, left, meanwhile};
use crate::database::steps::Ask;

pub(super) fn flaws() -> Vec<Flaw> {
    let mut flaws = of_fences();
    flaws.extend(of_endings());
    flaws.extend(of_listings());
    flaws
}

fn of_fences() -> Vec<Flaw> {
    vec![
        left(
            "only the beginning of a pass raises the fence",
            |was, now, step, _| {
                if !matches!(step.ask, Ask::BeginPass(_)) {
                    now.fences.clone_from(&was.fences);
                }
            },
        ),
        left("an unknown region gets no fence", |_, now, _, _| {
            now.fences.remove(&"nowhere".into());
        }),
    ]
}

fn of_endings() -> Vec<Flaw> {
    vec![
        meanwhile(
            "instances of other regions are drained, too",
            |tables, step| {
                if let Ask::Drain(fence, _) = &step.ask {
                    let rows = tables.instances.values_mut();
                    rows.for_each(|row| row.region.clone_from(&fence.region));
                }
            },
            |was, now, step, _| {
                if matches!(step.ask, Ask::Drain(..)) {
                    for (id, row) in &mut now.instances {
                        row.region.clone_from(&was.instances[id].region);
                    }
                }
            },
        ),
        meanwhile(
            "the occupied are drained",
            |tables, step| {
                if matches!(step.ask, Ask::Drain(..)) {
                    change_slots(tables, |slot| slot.status = SlotStatus::Waiting);
                }
            },
            |was, now, step, _| {
                if matches!(step.ask, Ask::Drain(..)) {
                    now.slots.clone_from(&was.slots);
                }
            },
        ),
        meanwhile(
            "whoever has notice is kept while occupied",
            |tables, step| {
                if matches!(step.ask, Ask::Drain(..)) {
                    let rows = tables.instances.values_mut();
                    rows.for_each(|row| row.notice = None);
                }
            },
            |was, now, step, _| {
                if matches!(step.ask, Ask::Drain(..)) {
                    for (id, row) in &mut now.instances {
                        row.notice = was.instances[id].notice;
                    }
                }
            },
        ),
        left("the last notice counts", |_, now, step, answer| {
            if let Ask::GiveNotice(id, notice) = &step.ask
                && answer == "Already"
                && let Some(row) = now.instances.get_mut(id)
            {
                row.notice = Some(*notice);
            }
        }),
        meanwhile(
            "the active are ended when empty",
            |tables, step| {
                if matches!(step.ask, Ask::Terminate(_, _, TerminateIf::Empty)) {
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
                    if matches!(step.ask, Ask::Terminate(..)) && !ended {
                        row.status = was.instances[id].status;
                    }
                }
            },
        ),
        left("sessions outlive their instance", |was, now, step, _| {
            if matches!(step.ask, Ask::Terminate(..)) {
                now.slots.clone_from(&was.slots);
            }
        }),
        left("a removed instance leaves its beat", |was, now, _, _| {
            for (id, beat) in &was.heartbeats {
                now.heartbeats.entry(id.clone()).or_insert(*beat);
            }
        }),
    ]
}

fn of_listings() -> Vec<Flaw> {
    vec![
        asked("who is missing and present is missing", |_, step| {
            if let Ask::NoteMissing(_, missing, present) = &mut step.ask {
                present.retain(|id| !missing.contains(id));
            }
        }),
        left(
            "missing counts from the last look",
            |was, now, step, answer| {
                let Ask::NoteMissing(_, missing, _) = &step.ask else {
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
        left("a released slot keeps its time", |was, now, step, _| {
            if matches!(step.ask, Ask::Release(_)) {
                for (id, slot) in &mut now.slots {
                    slot.allocated_at = was.slots[id].allocated_at;
                }
            }
        }),
    ]
}
