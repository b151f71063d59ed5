//! The history of sessions and instances.

use std::collections::BTreeSet;

use jiff::Timestamp;
use shared::ids::InstanceId;
use testing::Tables;

use super::rule::{Check, Violation};

/// A session on a slot: the slot, the user, the session, and since when.
type Stay = (String, String, String, Timestamp);

/// What the previous step left.
#[derive(Debug, Default)]
pub(super) struct History {
    held: BTreeSet<Stay>,
    instances: BTreeSet<InstanceId>,
    /// The rows that were checked.
    sessions_seen: usize,
    instances_seen: usize,
    ended: BTreeSet<Stay>,
}

impl History {
    pub(super) fn check_state(&mut self, tables: &Tables, found: &mut Vec<Violation>) {
        let mut report = |text: String| {
            found.push(Violation::new(Check::EachInHistoryOnce, text));
        };
        let held = held(tables);
        let new = tables.session_history.iter().skip(self.sessions_seen);
        for row in new {
            let slot = row.slot_id.clone();
            let stay = (slot, row.user.clone(), row.session.clone(), row.assigned_at);
            if held.contains(&stay) {
                report(format!("{stay:?} is in the history and has not ended"));
            }
            if let Some(twice) = self.ended.replace(stay) {
                report(format!("{twice:?} is in the history twice"));
            }
        }
        for lost in self.held.difference(&held) {
            if !self.ended.contains(lost) {
                report(format!("{lost:?} ended and is not in the history"));
            }
        }
        let instances: BTreeSet<_> = tables.instances.keys().cloned().collect();
        let new = tables.instance_history.iter().skip(self.instances_seen);
        let mut gone: Vec<_> = new.map(|row| row.instance_id.clone()).collect();
        gone.sort();
        let expected: Vec<_> = self.instances.difference(&instances).cloned().collect();
        if gone != expected {
            report(format!(
                "{expected:?} are gone, and the history has {gone:?}"
            ));
        }
        self.held = held;
        self.instances = instances;
        self.sessions_seen = tables.session_history.len();
        self.instances_seen = tables.instance_history.len();
    }
}

fn held(tables: &Tables) -> BTreeSet<Stay> {
    let slots = tables.slots.iter();
    let held = slots.filter(|(_, slot)| slot.status.is_held());
    held.filter_map(|(id, slot)| {
        let (user, session) = slot.user.clone()?;
        Some((id.clone(), user, session, slot.first_allocated_at?))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use shared::usage::SessionRecord;
    use testing::{NOW, SlotRow, SlotStatus};

    use super::*;

    /// Ann has a slot.
    fn running() -> Tables {
        let slot = SlotRow {
            user: Some(("ann".to_owned(), "1".to_owned())),
            status: SlotStatus::Running,
            first_allocated_at: Some(NOW),
            ..SlotRow::waiting("i-1".into())
        };
        let mut tables = Tables::default();
        tables.slots.insert("slot".to_owned(), slot);
        tables
    }

    fn row() -> SessionRecord {
        SessionRecord {
            user: "ann".to_owned(),
            session: "1".to_owned(),
            region: "us-east-1".into(),
            instance_id: "i-1".into(),
            image_id: "ami-1".into(),
            instance_type: None,
            slot_id: "slot".to_owned(),
            requested_at: NOW,
            assigned_at: NOW,
            connected_at: None,
            running_at: None,
            ended_at: Some(NOW),
            end_reason: None,
            end_detail: None,
            waited: SignedDuration::ZERO,
        }
    }

    /// What is found after a step from Ann's session to these rows, with her slot or without.
    fn found(rows: &[SessionRecord], holds: bool) -> Vec<String> {
        let mut history = History::default();
        let mut found = vec![];
        history.check_state(&running(), &mut found);
        assert_eq!(found, []);
        let mut after = if holds { running() } else { Tables::default() };
        after.session_history = rows.to_vec();
        history.check_state(&after, &mut found);
        // Each row is checked once.
        history.check_state(&after, &mut found);
        found.into_iter().map(|violation| violation.text).collect()
    }

    #[test]
    fn lost_doubled_and_early_rows_are_found() {
        assert_eq!(found(&[], true), [""; 0]);
        assert_eq!(found(&[row()], false), [""; 0]);
        let cases = [
            (vec![], false, "not in the history"),
            (vec![row(), row()], false, "twice"),
            (vec![row()], true, "has not ended"),
        ];
        for (rows, holds, expected) in cases {
            let found = found(&rows, holds);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(expected), "{found:?}");
        }
    }
}
