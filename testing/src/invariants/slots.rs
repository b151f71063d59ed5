//! A slot has at most one user, a user never more slots than the limit, and a session one slot.

use std::collections::{BTreeMap, BTreeSet};

/// A change of a slot's status or user, in the order of the commits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotChange {
    /// In microseconds.
    pub at_us: i64,
    pub id: String,
    pub instance_id: String,
    /// `None` once the row is deleted.
    pub status: Option<String>,
    pub user_before: Option<String>,
    pub user: Option<String>,
    pub session: Option<String>,
}

impl SlotChange {
    pub fn is_occupied(&self) -> bool {
        self.user.is_some()
    }

    /// Whether the slot counts towards its user's limit: a session that is ending does not.
    fn is_held(&self) -> bool {
        let status = self.status.as_deref();
        matches!(status, Some("ALLOCATED" | "CONNECTING" | "RUNNING"))
    }
}

/// A slot that a user holds, or was assigned. A `Holding<&str>` copies no text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holding<T = String> {
    pub slot: T,
    pub user: T,
    pub session: T,
}

/// Whether a slot went from one user or session to another without being free in between.
pub fn is_handed_over<T: PartialEq>(before: Option<&T>, after: Option<&T>) -> bool {
    before.is_some() && after.is_some() && before != after
}

/// The slots that users hold at one moment: one for each session, and none above the limit.
pub fn holding_violations<'h, T: AsRef<str> + 'h>(
    holdings: impl IntoIterator<Item = &'h Holding<T>> + Clone,
    limit: usize,
) -> Vec<String> {
    let mut found = sessions_with_two_slots(holdings.clone());
    found.extend(users_above_limit(holdings, limit));
    found
}

/// Each session holds one slot at a moment: a repeated request gets the slot that it holds.
pub fn sessions_with_two_slots<'h, T: AsRef<str> + 'h>(
    holdings: impl IntoIterator<Item = &'h Holding<T>>,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut slots: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for holding in holdings {
        let (user, session) = (holding.user.as_ref(), holding.session.as_ref());
        let slot = holding.slot.as_ref();
        if let Some(other) = slots.insert((user, session), slot) {
            found.push(format!(
                "session {session} of {user} holds {other} and {slot}"
            ));
        }
    }
    found
}

/// No user holds more slots than `limit` at a moment.
pub fn users_above_limit<'h, T: AsRef<str> + 'h>(
    holdings: impl IntoIterator<Item = &'h Holding<T>>,
    limit: usize,
) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for holding in holdings {
        *counts.entry(holding.user.as_ref()).or_default() += 1;
    }
    let above = counts.into_iter().filter(|(_, count)| *count > limit);
    above
        .map(|(user, count)| format!("{user} holds {count} slots, with a limit of {limit}"))
        .collect()
}

/// A history of slots: no slot is handed over, and the rules of [`holding_violations`] hold after
/// each change.
pub fn history_violations(changes: &[SlotChange], limit: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut held: BTreeMap<&str, BTreeSet<Holding>> = BTreeMap::new();
    for change in changes {
        if is_handed_over(change.user_before.as_ref(), change.user.as_ref()) {
            found.push(format!("a slot was handed over: {change:?}"));
        }
        let user = change.user_before.as_deref().or(change.user.as_deref());
        let Some(user) = user else {
            continue;
        };
        let holdings = held.entry(user).or_default();
        holdings.retain(|holding| holding.slot != change.id);
        if change.is_held() {
            holdings.insert(Holding {
                slot: change.id.clone(),
                user: user.to_owned(),
                session: change.session.clone().unwrap_or_default(),
            });
            let broken = holding_violations(&*holdings, limit);
            found.extend(broken.iter().map(|text| format!("{text}: {change:?}")));
        }
    }
    found
}

/// Every slot that was answered to a user was also assigned to that user in the database.
pub fn answers_without_assignment(answers: &[Holding], changes: &[SlotChange]) -> Vec<String> {
    let assigned = changes
        .iter()
        .filter(|change| change.status.as_deref() == Some("ALLOCATED"));
    let assigned: BTreeSet<_> = assigned
        .map(|change| {
            (
                change.id.as_str(),
                change.user.as_deref(),
                change.session.as_deref(),
            )
        })
        .collect();
    let is_assigned = |answer: &&Holding| {
        let slot = (
            answer.slot.as_str(),
            Some(answer.user.as_str()),
            Some(answer.session.as_str()),
        );
        assigned.contains(&slot)
    };
    let missing = answers.iter().filter(|answer| !is_assigned(answer));
    missing
        .map(|answer| format!("answered, but not assigned: {answer:?}"))
        .collect()
}

/// No slot was answered to two users or sessions. Only valid while no session ends.
pub fn shared_answers(answers: &[Holding]) -> Vec<String> {
    let mut found = Vec::new();
    let mut holders: BTreeMap<&str, &Holding> = BTreeMap::new();
    for answer in answers {
        let first = holders.entry(&answer.slot).or_insert(answer);
        if *first != answer {
            found.push(format!(
                "one slot was answered twice: {first:?} and {answer:?}"
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 3;

    /// A slot that goes from one user to another, or to none.
    fn passes(slot: &str, from: Option<&str>, to: Option<&str>) -> SlotChange {
        SlotChange {
            at_us: 1_000,
            id: slot.to_owned(),
            instance_id: "i-1".to_owned(),
            status: Some(to.map_or("WAITING", |_| "ALLOCATED").to_owned()),
            user_before: from.map(str::to_owned),
            user: to.map(str::to_owned),
            session: to.map(|_| format!("session-{slot}")),
        }
    }

    fn answer(user: &str) -> Holding {
        Holding {
            slot: "1".to_owned(),
            user: user.to_owned(),
            session: "session-1".to_owned(),
        }
    }

    #[test]
    fn slot_that_was_free_in_between_is_accepted() {
        let changes = [
            passes("1", None, Some("ann")),
            passes("1", Some("ann"), None),
            passes("1", None, Some("bob")),
        ];
        assert_eq!(history_violations(&changes, LIMIT), [""; 0]);
        assert_eq!(
            answers_without_assignment(&[answer("ann")], &changes),
            [""; 0]
        );
    }

    #[test]
    fn slot_handed_over_is_found() {
        let changes = [
            passes("1", None, Some("ann")),
            passes("1", Some("ann"), Some("bob")),
        ];
        assert_eq!(history_violations(&changes, LIMIT).len(), 1);
    }

    #[test]
    fn slot_above_the_limit_is_found() {
        let taken = |slots: &[&str]| -> Vec<_> {
            slots
                .iter()
                .map(|slot| passes(slot, None, Some("ann")))
                .collect()
        };
        assert_eq!(history_violations(&taken(&["1", "2", "3"]), LIMIT), [""; 0]);
        assert_eq!(
            history_violations(&taken(&["1", "2", "3", "4"]), LIMIT).len(),
            1
        );
    }

    #[test]
    fn second_slot_for_one_session_is_found() {
        let mut second = passes("2", None, Some("ann"));
        second.session = Some("session-1".to_owned());
        let changes = [passes("1", None, Some("ann")), second];
        assert_eq!(history_violations(&changes, LIMIT).len(), 1);
    }

    #[test]
    fn answer_without_an_assignment_is_found() {
        let changes = [passes("1", None, Some("ann"))];
        assert_eq!(
            answers_without_assignment(&[answer("bob")], &changes).len(),
            1
        );
    }

    #[test]
    fn slot_answered_to_two_users_is_found() {
        assert_eq!(shared_answers(&[answer("ann"), answer("ann")]), [""; 0]);
        assert_eq!(shared_answers(&[answer("ann"), answer("bob")]).len(), 1);
    }
}
