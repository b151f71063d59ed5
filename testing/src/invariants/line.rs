//! A line is served in its order: nobody who still asks is overtaken, and no free slot is kept from
//! the first.

use std::collections::BTreeMap;

/// The users of one line, as the answers to them say. Times are in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(BTreeMap<String, Waiting>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    first_us: i64,
    last_us: i64,
    /// Until then, the user cannot get an instance that failed them.
    barred_until_us: Option<i64>,
}

impl Line {
    /// Removes the users whose last request was before that time.
    pub fn remove_left(&mut self, before_us: i64) {
        self.0.retain(|_, waiting| waiting.last_us >= before_us);
    }

    /// A user was refused: they join the line, or still ask.
    pub fn refuse(&mut self, user: &str, at_us: i64, barred_until_us: Option<i64>) {
        let first_us = self.first_refusal(user).unwrap_or(at_us);
        let waiting = Waiting {
            first_us,
            last_us: at_us,
            barred_until_us,
        };
        self.0.insert(user.to_owned(), waiting);
    }

    /// A user was served.
    pub fn remove(&mut self, user: &str) {
        self.0.remove(user);
    }

    /// When the user joined the line, if they are in it.
    pub fn first_refusal(&self, user: &str) -> Option<i64> {
        self.0.get(user).map(|waiting| waiting.first_us)
    }

    /// Who is served before a user: all who were refused first. Those who cannot get every free
    /// slot do not count.
    pub fn ahead(&self, user: &str, at_us: i64) -> Vec<&str> {
        let mine = self.first_refusal(user).map(|first| (first, user));
        let others = self.0.iter().filter(|(other, _)| *other != user);
        others
            .filter(|(_, waiting)| waiting.barred_until_us.is_none_or(|until| until <= at_us))
            .filter(|(other, waiting)| {
                mine.is_none_or(|mine| (waiting.first_us, other.as_str()) < mine)
            })
            .map(|(other, _)| other.as_str())
            .collect()
    }
}

/// Whether a user may be served: nobody is ahead, or a slot is left when all of them are served.
/// `free` are the slots that are free before the user gets one.
pub fn may_be_served(ahead: usize, free: usize) -> bool {
    ahead == 0 || free > ahead
}

/// An answer to a user, with what the database saw when it committed it and shortly before: of what
/// changed by time alone, the counts are those that are most favourable to the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    pub at_us: i64,
    pub region: String,
    pub user: String,
    /// The user got a slot; otherwise, they were refused.
    pub is_served: bool,
    /// Users who were refused first and still ask.
    pub ahead: usize,
    /// Free slots, with the one that the user got.
    pub free: usize,
    /// The user cannot get every free slot.
    pub is_barred: bool,
}

/// A region gained free slots, or lost some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapacityChange {
    pub at_us: i64,
    pub region: String,
}

/// An answer is decided up to this time before it is committed: a user waits up to half a second for
/// the gate of a line, and up to a second and a half for slots that others have locked.
const DECIDING_US: i64 = 3_000_000;

/// The answers that were not those of the line: somebody was served before others, or the first was
/// refused although a slot was free. Who is behind others may be refused with a slot left over, while
/// another newcomer is being decided: a request waits for one line only. An answer is excused if the
/// number of free slots may have changed between the decision and its commit.
pub fn turn_violations(
    turns: &[Turn],
    gained: &[CapacityChange],
    lost: &[CapacityChange],
) -> Vec<String> {
    let mut found = Vec::new();
    for turn in turns {
        let is_first = turn.ahead == 0;
        let (changes, text) = match turn.is_served {
            true if !may_be_served(turn.ahead, turn.free) => (lost, "somebody was overtaken"),
            false if is_first && turn.free > 0 && !turn.is_barred => {
                (gained, "a free slot was kept")
            }
            _ => continue,
        };
        let is_excuse = |change: &CapacityChange| {
            let ago = turn.at_us - change.at_us;
            change.region == turn.region && (0..=DECIDING_US).contains(&ago)
        };
        if !changes.iter().any(is_excuse) {
            found.push(format!("{text}: {turn:?}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(users: &[(&str, i64)]) -> Line {
        let mut line = Line::default();
        for (user, at_us) in users {
            line.refuse(user, *at_us, None);
        }
        line
    }

    #[test]
    fn users_are_in_the_order_of_their_first_refusals() {
        let mut line = line(&[("bob", 1), ("ann", 2), ("bob", 3)]);
        assert_eq!(line.ahead("ann", 3), ["bob"]);
        assert_eq!(line.ahead("bob", 3), [""; 0]);
        assert_eq!(line.ahead("newcomer", 3), ["ann", "bob"]);
        line.remove("bob");
        assert_eq!(line.ahead("ann", 3), [""; 0]);
    }

    #[test]
    fn user_who_has_left_comes_back_as_a_newcomer() {
        let mut line = line(&[("bob", 1), ("ann", 2), ("ann", 9)]);
        line.remove_left(9);
        line.refuse("bob", 10, None);
        assert_eq!(line.ahead("bob", 10), ["ann"]);
    }

    #[test]
    fn user_who_cannot_get_every_slot_is_not_ahead_of_anybody() {
        let mut line = Line::default();
        line.refuse("bob", 1, Some(5));
        line.refuse("ann", 2, None);
        assert_eq!(line.ahead("ann", 4), [""; 0]);
        assert_eq!(line.ahead("ann", 5), ["bob"]);
    }

    #[test]
    fn newcomer_is_served_only_if_a_slot_is_left() {
        assert!(may_be_served(0, 0));
        assert!(!may_be_served(2, 2));
        assert!(may_be_served(2, 3));
    }

    fn turn(is_served: bool, ahead: usize, free: usize) -> Turn {
        Turn {
            at_us: 5_000_000,
            region: "r".to_owned(),
            user: "ann".to_owned(),
            is_served,
            ahead,
            free,
            is_barred: false,
        }
    }

    #[test]
    fn turn_that_overtakes_or_keeps_a_slot_is_found() {
        let found = |turn| turn_violations(&[turn], &[], &[]).len();
        assert_eq!(found(turn(true, 1, 1)), 1);
        assert_eq!(found(turn(true, 1, 2)), 0);
        assert_eq!(found(turn(false, 0, 1)), 1);
        assert_eq!(found(turn(false, 0, 0)), 0);
        assert_eq!(found(turn(false, 2, 2)), 0);
        assert_eq!(found(turn(false, 2, 3)), 0);
        let mut barred = turn(false, 0, 1);
        barred.is_barred = true;
        assert_eq!(found(barred), 0);
    }

    #[test]
    fn turn_during_a_change_of_capacity_is_excused() {
        let change = |at_us| {
            let region = "r".to_owned();
            vec![CapacityChange { at_us, region }]
        };
        let (overtaken, kept) = ([turn(true, 1, 1)], [turn(false, 0, 1)]);
        assert_eq!(
            turn_violations(&overtaken, &[], &change(4_000_000)),
            [""; 0]
        );
        assert_eq!(turn_violations(&kept, &change(4_000_000), &[]), [""; 0]);
        assert_eq!(turn_violations(&kept, &[], &change(4_000_000)).len(), 1);
        assert_eq!(turn_violations(&kept, &change(1_900_000), &[]).len(), 1);
    }
}
