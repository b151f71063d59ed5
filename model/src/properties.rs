//! What must hold in every state, and examples that show how far the model gets.

use stateright::{Model, Property};

use crate::protocol::Protocol;
use crate::state::{At, Run, State, Who};

/// The names of the properties, and then of the examples.
pub mod name {
    pub const ONE_WRITER: &str = "no write is accepted once a newer holder's pass has begun";
    pub const LEASE_KEPT: &str = "nobody takes a lock whose lease has not ended";
    pub const VERSIONS_GROW: &str = "each holder's version is higher than all before";
    pub const CLEARED_BY_LOOKER: &str = "a mark is cleared only by who then looks";
    pub const WAKE_DURABLE: &str = "a seen event is marked, about to be looked at, or looked at";
    pub const NONE_WAITS: &str = "undisturbed, no event waits for the schedule";
    pub const ALL_SEEN: &str = "in the end a look has seen every change";
    pub const AT_REST: &str = "in the end the mark is clear and the lock free";
    /// Of the model itself: else its end might never be asked for.
    pub const NEVER_STUCK: &str = "something can happen, or all is over";

    pub const TURNED_AWAY: &str = "a webhook finds the lock held";
    pub const HANDED_OVER: &str = "the rounds are used up and the region is wanted";
    pub const SEEN_BEFORE: &str = "an event is delivered that was seen before";
    pub const OUTRUN: &str = "an outrun holder wants to write";
    pub const LIFTED: &str = "a lock is lifted above the fence";
    pub const LATE_CLEAR: &str = "a late clear is on its way while a newer mark is set";
    pub const DIED_WITH_MARK: &str = "a holder dies, and with it the mark that it has cleared";
}

type Must = Property<Protocol>;

pub(crate) fn all() -> Vec<Must> {
    vec![
        Must::always(name::ONE_WRITER, |_, s| !s.noted.stale_write),
        Must::always(name::LEASE_KEPT, |_, s| !s.noted.robbed),
        Must::always(name::VERSIONS_GROW, |_, s| !s.noted.version_reused),
        Must::always(name::CLEARED_BY_LOOKER, |_, s| !s.noted.cleared_in_vain),
        Must::always(name::WAKE_DURABLE, |_, s| s.wakes_are_durable()),
        Must::always(name::NONE_WAITS, |_, s| {
            !s.is_settled() || s.noted.disturbed || s.noted.looked == s.world
        }),
        Must::always(name::ALL_SEEN, |_, s| {
            !s.is_over() || s.noted.looked == s.world
        }),
        Must::always(name::AT_REST, |_, s| {
            !s.is_over() || (s.mark.is_none() && !s.lock.held)
        }),
        Must::always(name::NEVER_STUCK, |p, s| {
            s.is_over() || !p.next_steps(s).is_empty()
        }),
        Must::sometimes(name::TURNED_AWAY, |_, s| {
            s.lock.held && s.any(|run| run.event().is_some() && run.at == At::Acquire)
        }),
        Must::sometimes(name::HANDED_OVER, |p, s| {
            s.mark.is_some() && s.any(|run| run.at == At::Reread && run.rounds == p.bounds.rounds)
        }),
        Must::sometimes(name::SEEN_BEFORE, |_, s| {
            s.any(|run| run.at == At::AskSeen && run.event().is_some_and(|event| s.is_seen(event)))
        }),
        Must::sometimes(name::OUTRUN, |_, s| {
            s.any(|run| run.at == At::Write && run.lease.is_some_and(|own| own.version < s.fence))
        }),
        Must::sometimes(name::LIFTED, |_, s| s.any(|run| run.lifted)),
        Must::sometimes(name::LATE_CLEAR, |_, s| {
            let marked = s.mark.zip(s.late);
            marked.is_some_and(|(mark, late)| mark.id != late.mark)
        }),
        Must::sometimes(name::DIED_WITH_MARK, |_, s| {
            s.noted.excused > s.noted.looked
        }),
    ]
}

impl State {
    /// Nothing will ever happen again, until the schedule comes once more.
    fn is_over(&self) -> bool {
        self.quiet && self.is_settled()
    }

    fn wakes_are_durable(&self) -> bool {
        let Self { mark, noted, .. } = self;
        let done = noted.looked.max(noted.excused);
        (done + 1..=self.world)
            .filter(|event| self.is_seen(*event))
            .all(|event| {
                mark.is_some_and(|mark| mark.covers >= event) || self.any(|run| run.owes >= event)
            })
    }

    fn any(&self, is: impl Fn(&Run) -> bool) -> bool {
        self.runs.iter().any(is)
    }
}

impl Run {
    fn event(&self) -> Option<u8> {
        match self.who {
            Who::Webhook(event) => Some(event),
            Who::Pass => None,
        }
    }
}
