//! A slot has at most one user, and a user never more than the limit.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Evidence, SlotChange};

/// `SessionsPerUser`, as the template has it.
const SESSIONS: usize = 3;

pub(crate) fn violations(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    let mut held: BTreeMap<&str, BTreeSet<(&str, &str)>> = BTreeMap::new();
    for change in &evidence.slots {
        if is_handed_over(change) {
            found.push(format!("two users: {change:?}"));
        }
        let user = change.was_user.as_deref().or(change.user.as_deref());
        let Some(user) = user else {
            continue;
        };
        let slots = held.entry(user).or_default();
        slots.retain(|(slot, _)| *slot != change.id);
        if !counts(change) {
            continue;
        }
        let session = change.session.as_deref().unwrap_or_default();
        if slots.iter().any(|(_, other)| *other == session) {
            found.push(format!("a second slot for one session: {change:?}"));
        }
        slots.insert((&change.id, session));
        if slots.len() > SESSIONS {
            found.push(format!("one slot too many: {change:?}"));
        }
    }
    told_what_they_had(evidence, &mut found);
    found
}

/// From one user to another without being free in between.
fn is_handed_over(change: &SlotChange) -> bool {
    change.was_user.is_some() && change.user.is_some() && change.was_user != change.user
}

fn counts(change: &SlotChange) -> bool {
    let status = change.status.as_deref();
    matches!(status, Some("ALLOCATED" | "CONNECTING" | "RUNNING"))
}

/// Whoever was told a slot was given that slot.
fn told_what_they_had(evidence: &Evidence, found: &mut Vec<String>) {
    let taken = evidence
        .slots
        .iter()
        .filter(|change| change.status.as_deref() == Some("ALLOCATED"));
    let taken: BTreeSet<_> = taken
        .map(|change| {
            (
                change.id.as_str(),
                change.user.as_deref(),
                change.session.as_deref(),
            )
        })
        .collect();
    for told in &evidence.told {
        let slot = (
            told.slot.as_str(),
            Some(told.user.as_str()),
            Some(told.session.as_str()),
        );
        if !taken.contains(&slot) {
            found.push(format!("told, but not given: {told:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::examples::passes;
    use crate::users::Told;

    fn found(slots: Vec<SlotChange>, told: Vec<Told>) -> Vec<String> {
        violations(&Evidence {
            slots,
            told,
            ..Evidence::default()
        })
    }

    fn told(user: &str) -> Vec<Told> {
        vec![Told {
            user: user.to_owned(),
            session: "session-1".to_owned(),
            slot: "1".to_owned(),
        }]
    }

    #[test]
    fn a_slot_that_was_free_in_between_is_well() {
        let slots = vec![
            passes("1", None, Some("ann"), 1),
            passes("1", Some("ann"), None, 2),
            passes("1", None, Some("bob"), 3),
        ];
        assert_eq!(found(slots, told("ann")), [""; 0]);
    }

    #[test]
    fn a_slot_that_is_handed_on_is_seen() {
        let slots = vec![
            passes("1", None, Some("ann"), 1),
            passes("1", Some("ann"), Some("bob"), 2),
        ];
        assert_eq!(found(slots, Vec::new()).len(), 1);
    }

    #[test]
    fn a_fourth_session_is_seen_and_a_third_is_well() {
        let taken = |slots: &[&str]| {
            slots
                .iter()
                .map(|slot| passes(slot, None, Some("ann"), 1))
                .collect()
        };
        assert_eq!(found(taken(&["1", "2", "3"]), Vec::new()), [""; 0]);
        assert_eq!(found(taken(&["1", "2", "3", "4"]), Vec::new()).len(), 1);
    }

    #[test]
    fn a_second_slot_for_one_session_is_seen() {
        let mut second = passes("2", None, Some("ann"), 2);
        second.session = Some("session-1".to_owned());
        let slots = vec![passes("1", None, Some("ann"), 1), second];
        assert_eq!(found(slots, Vec::new()).len(), 1);
    }

    #[test]
    fn a_user_who_was_told_a_slot_without_being_given_it_is_seen() {
        let slots = vec![passes("1", None, Some("ann"), 1)];
        assert_eq!(found(slots, told("bob")).len(), 1);
    }
}
