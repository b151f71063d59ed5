//! Users and their slots. What needs no instance and no image is in [`testing::invariants::slots`].

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use shared::ids::InstanceId;
use shared::model::InstanceStatus;
use testing::invariants::slots::{
    Holding, is_handed_over, sessions_with_two_slots, users_above_limit,
};
use testing::{EndCause, SlotRow, SlotStatus, Tables};

use super::context::StepContext;
use super::rule::{Check, Violation};
use crate::effects::Effect;
use crate::world::USER_LIMIT;

/// For how long an instance with short sessions comes last.
const LAST: SignedDuration = SignedDuration::from_mins(10);

/// The slots as the previous step left them.
#[derive(Debug, Default)]
pub(super) struct Slots {
    before: BTreeMap<String, SlotRow>,
}

impl Slots {
    /// The slots before the step, until `check_state` forgets them.
    pub(super) fn before(&self) -> &BTreeMap<String, SlotRow> {
        &self.before
    }

    /// `tables` are those after the step.
    pub(super) fn check_effect(
        &self,
        effect: &Effect,
        tables: &Tables,
        now: Timestamp,
        found: &mut Vec<Violation>,
    ) {
        let Effect::SlotAssigned { request, slot, .. } = effect else {
            return;
        };
        let (user, session) = (request.user.as_str(), request.session.as_str());
        let held = self
            .before
            .iter()
            .find(|(_, row)| row.status.is_held() && row.is_of(user, session));
        // A slot that nobody claimed is replaced if its instance does not take users any more, or if
        // its user had it for too long.
        let may_be_replaced = |row: &SlotRow| {
            row.status == SlotStatus::Allocated
                && (!tables.takes_users(&row.instance_id, now) || tables.is_held_too_long(row, now))
        };
        if let Some((held, row)) = held
            && held != slot
            && !may_be_replaced(row)
        {
            let text = format!("{user}/{session} held {held} and was assigned {slot}");
            found.push(Violation::new(Check::RepeatedRequestSameSlot, text));
        }
        let answered = tables.slots.get(slot);
        if let Some(row) = answered.filter(|row| row.status == SlotStatus::Allocated)
            && !tables.is_alive(&row.instance_id, now)
        {
            let id = &row.instance_id;
            let text = format!("{user}/{session} was sent to {id}, whose agent is silent");
            found.push(Violation::new(Check::AssignedOnlyInService, text));
        }
    }

    pub(super) fn check_state(&mut self, tables: &Tables, found: &mut Vec<Violation>) {
        if tables.slots == self.before {
            return;
        }
        for (id, slot) in &tables.slots {
            if let Some(before) = self.before.get(id) {
                check_change(id, before, slot, found);
            }
            let is_new = self
                .before
                .get(id)
                .is_none_or(|b| b.status == SlotStatus::Waiting);
            if slot.status == SlotStatus::Allocated && is_new {
                check_assignment(tables, id, &slot.instance_id, found);
            }
        }
        let held = holdings(tables);
        for text in sessions_with_two_slots(&held) {
            found.push(Violation::new(Check::RepeatedRequestSameSlot, text));
        }
        for text in users_above_limit(&held, USER_LIMIT as usize) {
            found.push(Violation::new(Check::UserLimit, text));
        }
        self.before.clone_from(&tables.slots);
    }
}

impl Slots {
    /// Before `check_state`. A session whose end was written by a pass has a limit that comes, and its
    /// agent the whole warning.
    pub(super) fn check_ends(&self, tables: &Tables, now: Timestamp, found: &mut Vec<Violation>) {
        if tables.slots == self.before {
            return;
        }
        for (id, slot) in &tables.slots {
            let Some(before) = self.before.get(id) else {
                continue;
            };
            let (Some((cause, by)), true) = (slot.end, slot.end != before.end) else {
                continue;
            };
            let host = tables.instances.get(&slot.instance_id);
            let Some((host, region)) = host.zip(host.and_then(|it| tables.regions.get(&it.region)))
            else {
                continue;
            };
            let endings = region.settings.endings;
            let seconds = |max: Option<u32>| max.map(|max| SignedDuration::from_secs(max.into()));
            let lower = |a: Option<SignedDuration>, b| a.into_iter().chain(seconds(b)).min();
            let limit = match cause {
                EndCause::User | EndCause::Operator => continue,
                EndCause::Longest => slot
                    .claimed_at
                    .zip(lower(endings.max_session, slot.limits.max_session_seconds)),
                EndCause::Idle => slot
                    .user_active_at
                    .zip(lower(endings.max_idle, slot.limits.max_idle_seconds)),
                EndCause::Drain | EndCause::MaxAge => {
                    host.draining_since.zip(endings.drain_deadline)
                }
            };
            let is_right =
                limit.is_some_and(|(since, max)| by >= since + max && by >= now + endings.warning);
            if !is_right {
                let text =
                    format!("{id} is to end by {by} for {cause:?}, marked at {now}: {slot:?}");
                found.push(Violation::new(Check::EndsByLimitWithWarning, text));
            }
        }
    }

    /// Before `check_state`, which forgets the slots before the step.
    pub(super) fn check_honest_first(
        &self,
        context: &StepContext<'_>,
        tables: &Tables,
        found: &mut Vec<Violation>,
    ) {
        if tables.slots == self.before {
            return;
        }
        let was_waiting = |id: &String| {
            let before = self.before.get(id);
            before.is_some_and(|slot| slot.status == SlotStatus::Waiting)
        };
        for (id, slot) in &tables.slots {
            if slot.status == SlotStatus::Allocated && was_waiting(id) {
                self.check_given(context, tables, slot, found);
            }
        }
    }

    /// No slot of an instance that ends its sessions at once is given, once that was seen, while
    /// another instance for the same clients has free slots.
    fn check_given(
        &self,
        context: &StepContext<'_>,
        tables: &Tables,
        given: &SlotRow,
        found: &mut Vec<Violation>,
    ) {
        let now = context.world.now();
        let crashes = |id: &InstanceId| context.agents.get(id).is_some_and(|it| it.crashes);
        let is_marked = |slot: &SlotRow| slot.free_from.is_some_and(|at| at > now - LAST);
        let host = &given.instance_id;
        let (Some((user, _)), Some(row)) = (&given.user, tables.instances.get(host)) else {
            return;
        };
        if !crashes(host) || !is_marked(given) {
            return;
        }
        let has_failed = |id: &InstanceId| {
            let failed = tables.failed_sessions.iter();
            failed
                .filter(|failed| failed.user == *user)
                .any(|failed| failed.instance_id == *id)
        };
        let honest = tables.instances.iter().find(|(id, other)| {
            let free = self.before.values();
            let mut free = free
                .filter(|slot| slot.instance_id == **id && slot.is_free(now))
                .peekable();
            other.region == row.region
                && other.image_id == row.image_id
                && !crashes(id)
                && tables.takes_users(id, now)
                && !has_failed(id)
                && free.peek().is_some()
                && !free.any(&is_marked)
        });
        if let Some((honest, _)) = honest {
            let text = format!("{user} was sent to {host}, which crashes, and not to {honest}");
            found.push(Violation::new(Check::HonestSlotsFirst, text));
        }
    }
}

/// The slots that count towards the limits of their users, without a copy of their texts.
fn holdings(tables: &Tables) -> Vec<Holding<&str>> {
    let held = tables
        .slots
        .iter()
        .filter(|(_, slot)| slot.status.is_held());
    held.filter_map(|(id, slot)| {
        let (user, session) = slot.user.as_ref()?;
        Some(Holding {
            slot: id.as_str(),
            user,
            session,
        })
    })
    .collect()
}

fn check_change(id: &str, before: &SlotRow, after: &SlotRow, found: &mut Vec<Violation>) {
    let changed_user = is_handed_over(before.user.as_ref(), after.user.as_ref());
    let user_contradicts_status = after.user.is_some() == (after.status == SlotStatus::Waiting);
    // After the host has admitted a user's connection, only the host ends it.
    let user_evicted = matches!(before.status, SlotStatus::Connecting | SlotStatus::Running)
        && matches!(after.status, SlotStatus::Waiting | SlotStatus::Allocated);
    if changed_user || user_contradicts_status || user_evicted {
        let text = format!("slot {id} went from {before:?} to {after:?}");
        found.push(Violation::new(Check::SlotHasOneUser, text));
    }
}

fn check_assignment(tables: &Tables, slot: &str, id: &InstanceId, found: &mut Vec<Violation>) {
    let row = tables.instances.get(id);
    let image = row.and_then(|row| {
        let key = (row.region.clone(), row.image_id.clone());
        tables.images.get(&key)
    });
    if !image.is_some_and(|image| image.state.is_served()) {
        let text = format!("slot {slot} was assigned on {id} with the image {image:?}");
        found.push(Violation::new(Check::AssignedOnlyServed, text));
    }
    let status = row.map(|row| row.status);
    if status != Some(InstanceStatus::Active) {
        let text = format!("slot {slot} was assigned on {id}, which is {status:?}");
        found.push(Violation::new(Check::AssignedOnlyInService, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slots that are `ALLOCATED` to a user and a session each.
    fn allocated(slots: &[(&str, &str, &str)]) -> Tables {
        let row = |user: &str, session: &str| SlotRow {
            user: Some((user.to_owned(), session.to_owned())),
            status: SlotStatus::Allocated,
            ..SlotRow::waiting("i-1".into())
        };
        let rows = slots.iter();
        Tables {
            slots: rows
                .map(|(id, user, session)| ((*id).to_owned(), row(user, session)))
                .collect(),
            ..Tables::default()
        }
    }

    /// The rules of users that a change of the slots violates.
    fn violated(before: &Tables, after: &Tables) -> Vec<Check> {
        let mut slots = Slots {
            before: before.slots.clone(),
        };
        let mut found = Vec::new();
        slots.check_state(after, &mut found);
        let of_users = |check: &Check| {
            !matches!(
                check,
                Check::AssignedOnlyServed | Check::AssignedOnlyInService
            )
        };
        let checks = found.iter().map(|violation| violation.check);
        checks.filter(of_users).collect()
    }

    #[test]
    fn slot_allocated_to_another_user_or_session_is_found() {
        let before = allocated(&[("1", "ann", "a")]);
        for other in [("1", "bob", "a"), ("1", "ann", "b")] {
            let after = allocated(&[other]);
            assert_eq!(violated(&before, &after), [Check::SlotHasOneUser]);
        }
    }

    #[test]
    fn second_slot_of_a_session_is_found() {
        let after = allocated(&[("1", "ann", "a"), ("2", "ann", "a")]);
        let found = violated(&Tables::default(), &after);
        assert_eq!(found, [Check::RepeatedRequestSameSlot]);
    }

    #[test]
    fn slot_above_the_limit_is_found() {
        let at_limit = [("1", "ann", "a"), ("2", "ann", "b")];
        assert_eq!(at_limit.len(), USER_LIMIT as usize);
        let above = [at_limit[0], at_limit[1], ("3", "ann", "c")];
        assert_eq!(violated(&Tables::default(), &allocated(&at_limit)), []);
        let found = violated(&allocated(&at_limit), &allocated(&above));
        assert_eq!(found, [Check::UserLimit]);
    }
}
