//! A witness of the order in which a line of users is served. It knows only what the users
//! themselves know: when they sent each request, and when they had which answer.
//!
//! One user is surely ahead of another if their first refusal was answered before the other's first
//! request was sent. Requests that were under way at the same time prove nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// All requests of the users of one line.
#[derive(Clone, Debug)]
pub struct LineOrder {
    /// Who does not ask for this long has left the line.
    line: Duration,
    users: BTreeMap<String, Place>,
    /// Refusals of users who were surely in line.
    refusals: Vec<Refusal>,
    served: Vec<Served>,
}

/// What is known of a user's place.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The first request since the user was surely not in line.
    came: Instant,
    /// The answer since which the user was surely in line.
    joined: Instant,
    /// The last request.
    sent: Instant,
    answered: Instant,
}

#[derive(Clone, Debug)]
struct Refusal {
    user: String,
    joined: Instant,
    sent: Instant,
}

#[derive(Clone, Debug)]
struct Served {
    user: String,
    came: Instant,
    answered: Instant,
}

/// A user who was refused although somebody behind them had been served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overtaken {
    pub user: String,
    pub by: String,
}

impl LineOrder {
    /// A line that a user leaves who does not ask for `line`.
    #[must_use]
    pub fn new(line: Duration) -> Self {
        Self {
            line,
            users: BTreeMap::new(),
            refusals: Vec::new(),
            served: Vec::new(),
        }
    }

    /// Notes that a request was refused for lack of capacity.
    pub fn refused(&mut self, user: &str, sent: Instant, answered: Instant) {
        let place = self.place(user, sent, answered);
        if place.joined < sent {
            self.refusals.push(Refusal {
                user: user.to_owned(),
                joined: place.joined,
                sent,
            });
        }
        self.users.insert(user.to_owned(), place);
    }

    /// Notes that a request got a slot. The user is not in line any more. Returns the shortest and the
    /// longest time that the service may say that they waited.
    pub fn served(&mut self, user: &str, sent: Instant, answered: Instant) -> (Duration, Duration) {
        let place = self.place(user, sent, answered);
        self.users.remove(user);
        self.served.push(Served {
            user: user.to_owned(),
            came: place.came,
            answered,
        });
        if place.came == sent {
            // Surely a newcomer, who did not wait.
            return (Duration::ZERO, Duration::ZERO);
        }
        (
            sent.saturating_duration_since(place.joined),
            answered - place.came,
        )
    }

    /// Notes that the user does not wait in this line any more.
    pub fn left(&mut self, user: &str) {
        self.users.remove(user);
    }

    /// The user's place after this request, if it was refused.
    fn place(&self, user: &str, sent: Instant, answered: Instant) -> Place {
        let before = self.users.get(user);
        // The database noted the last request when it had been sent, and compares at the latest when
        // this one is answered.
        let stayed = before.filter(|it| answered - it.sent <= self.line);
        let may_have_stayed =
            before.filter(|it| sent.saturating_duration_since(it.answered) <= self.line);
        Place {
            came: may_have_stayed.map_or(sent, |it| it.came),
            joined: stayed.map_or(answered, |it| it.joined),
            sent,
            answered,
        }
    }

    /// Users who were refused, in a request that they sent after somebody had got a slot who came
    /// after them. A slot is kept for each user ahead, so that proves that they were overtaken, unless
    /// free slots vanished in between.
    #[must_use]
    pub fn overtaken(&self) -> Vec<Overtaken> {
        let mut served: Vec<_> = self.served.iter().collect();
        served.sort_by_key(|it| it.answered);
        let mut refusals: Vec<_> = self.refusals.iter().collect();
        refusals.sort_by_key(|it| it.sent);
        let mut served = served.into_iter().peekable();
        // Of those who have been served so far, the one who came last.
        let mut last: Option<&Served> = None;
        let mut overtaken = Vec::new();
        for refusal in refusals {
            while let Some(it) = served.next_if(|it| it.answered < refusal.sent) {
                if last.is_none_or(|last| last.came < it.came) {
                    last = Some(it);
                }
            }
            overtaken.extend(
                last.filter(|it| refusal.joined < it.came)
                    .map(|it| Overtaken {
                        user: refusal.user.clone(),
                        by: it.user.clone(),
                    }),
            );
        }
        overtaken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Duration = Duration::from_secs(15);

    /// A line, and a function from seconds to instants.
    fn line() -> (LineOrder, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        (LineOrder::new(LINE), move |seconds| {
            start + Duration::from_secs(seconds)
        })
    }

    #[test]
    fn user_refused_after_one_behind_was_served_is_overtaken() {
        let (mut line, at) = line();
        line.refused("ann", at(0), at(1));
        line.refused("bob", at(2), at(3));
        line.served("bob", at(4), at(5));
        assert_eq!(line.overtaken(), []);
        line.refused("ann", at(6), at(7));
        let expected = Overtaken {
            user: "ann".to_owned(),
            by: "bob".to_owned(),
        };
        assert_eq!(line.overtaken(), [expected]);
    }

    #[test]
    fn newcomer_who_is_served_overtakes_the_line() {
        let (mut line, at) = line();
        line.refused("ann", at(0), at(1));
        line.served("bob", at(2), at(3));
        line.refused("ann", at(4), at(5));
        assert_eq!(line.overtaken().len(), 1);
    }

    #[test]
    fn user_whose_slot_is_kept_is_not_overtaken() {
        let (mut line, at) = line();
        line.refused("ann", at(0), at(1));
        line.served("bob", at(2), at(3));
        line.served("ann", at(4), at(5));
        assert_eq!(line.overtaken(), []);
    }

    #[test]
    fn time_waited_is_between_what_the_answers_allow() {
        let (mut line, at) = line();
        let seconds = Duration::from_secs;
        line.refused("ann", at(0), at(2));
        line.refused("ann", at(9), at(10));
        assert_eq!(
            line.served("ann", at(15), at(16)),
            (seconds(13), seconds(16))
        );
        assert_eq!(line.served("ann", at(20), at(21)), (seconds(0), seconds(0)));
        // Whether bob left in between is not known.
        line.refused("bob", at(0), at(2));
        assert_eq!(
            line.served("bob", at(16), at(17)),
            (seconds(0), seconds(17))
        );
        line.refused("eve", at(0), at(2));
        assert_eq!(line.served("eve", at(18), at(19)), (seconds(0), seconds(0)));
    }

    #[test]
    fn requests_at_the_same_time_prove_nothing() {
        let (mut line, at) = line();
        // Either may have come first.
        line.refused("ann", at(0), at(2));
        line.refused("bob", at(1), at(3));
        line.served("bob", at(4), at(5));
        line.refused("ann", at(6), at(7));
        // The refusal may have come before the slot was given.
        line.refused("dan", at(8), at(9));
        line.served("eve", at(10), at(12));
        line.refused("dan", at(11), at(13));
        assert_eq!(line.overtaken(), []);
    }

    #[test]
    fn user_who_was_away_for_too_long_begins_anew() {
        let (mut line, at) = line();
        line.refused("ann", at(0), at(1));
        line.refused("bob", at(2), at(3));
        line.served("bob", at(4), at(5));
        // Sixteen seconds after the first request: whether ann was still in line is not known.
        line.refused("ann", at(15), at(16));
        assert_eq!(line.overtaken(), []);
        // Since then, she surely is.
        line.served("carl", at(20), at(21));
        line.refused("ann", at(22), at(23));
        assert_eq!(line.overtaken().len(), 1);
    }

    #[test]
    fn served_user_who_may_have_stayed_did_not_overtake() {
        let (mut line, at) = line();
        line.refused("bob", at(0), at(1));
        line.refused("ann", at(2), at(3));
        line.refused("ann", at(10), at(11));
        // Sixteen seconds after the answer is surely too late, fifteen is not.
        line.served("bob", at(16), at(17));
        line.refused("ann", at(18), at(19));
        assert_eq!(line.overtaken(), []);
    }
}
