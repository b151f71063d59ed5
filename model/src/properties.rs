//! What must hold in every state, and examples that show how far the model gets.

use stateright::{Model, Property};

use crate::protocol::{Protocol, ROUNDS, TOO_MANY};
use crate::state::{At, State};

/// The names of the properties, and then of the examples.
pub mod name {
    pub const ONE_WRITER: &str = "no write is accepted once a newer holder's pass has begun";
    pub const LEASE_KEPT: &str = "nobody takes a lock whose lease has not ended";
    pub const VERSIONS_GROW: &str = "each holder's version is higher than all before";
    /// A holder that dies takes no mark with it, nor does anything that comes late.
    pub const MARK_LASTS: &str = "a mark lasts until what it was set for was acted on";
    pub const WAKE_DURABLE: &str = "a seen event is marked or acted on";
    pub const NONE_WAITS: &str = "undisturbed, no event waits for the schedule";
    /// So that whoever looks next knows of it.
    pub const WAITS_MARKED: &str = "an event that waits for the schedule is marked";
    pub const NO_LOOP: &str = "passes that follow from each other come to an end";
    pub const ALL_DONE: &str = "in the end every change was seen and acted on";
    pub const AT_REST: &str = "in the end the mark is clear and the lock free";
    /// Of the model itself: else its end might never be asked for.
    pub const NEVER_STUCK: &str = "something can happen, or all is over";

    pub const TURNED_AWAY: &str = "a webhook finds the lock held";
    pub const HANDED_OVER: &str = "the rounds are used up and the region is wanted";
    pub const SEEN_BEFORE: &str = "an event is delivered that was seen before";
    pub const OUTRUN: &str = "an outrun holder wants to write";
    pub const LIFTED: &str = "a lock is lifted above the fence";
    pub const LATE_CLEAR: &str = "a late clear is on its way while a newer mark is set";
    pub const LEFT_MARKED: &str = "an event waits for the schedule";
}

type Must = Property<Protocol>;

pub(crate) fn all() -> Vec<Must> {
    vec![
        Must::always(name::ONE_WRITER, |_, s| !s.noted.stale_write),
        Must::always(name::LEASE_KEPT, |_, s| !s.noted.robbed),
        Must::always(name::VERSIONS_GROW, |_, s| !s.noted.version_reused),
        Must::always(name::MARK_LASTS, |_, s| {
            s.mark > 0 || s.noted.marked <= s.noted.acted
        }),
        Must::always(name::WAKE_DURABLE, |_, s| {
            let mut undone = s.noted.acted + 1..=s.world;
            s.mark > 0 || !undone.any(|event| s.is_seen(event))
        }),
        Must::always(name::NONE_WAITS, |_, s| s.noted.disturbed || !s.waits()),
        Must::always(name::WAITS_MARKED, |_, s| s.mark > 0 || !s.waits()),
        Must::always(name::NO_LOOP, |_, s| s.lock.owner < TOO_MANY),
        Must::always(name::ALL_DONE, |_, s| !s.is_over() || !s.waits()),
        Must::always(name::AT_REST, |_, s| {
            !s.is_over() || (s.mark == 0 && !s.lock.held)
        }),
        Must::always(name::NEVER_STUCK, |p, s| {
            s.is_over() || !p.next_steps(s).is_empty()
        }),
        Must::sometimes(name::TURNED_AWAY, |_, s| {
            s.lock.held && s.any(|run| run.event > 0 && run.at == At::Acquire)
        }),
        Must::sometimes(name::HANDED_OVER, |_, s| {
            s.mark > 0 && s.any(|run| run.at == At::Reread && run.rounds == ROUNDS)
        }),
        Must::sometimes(name::SEEN_BEFORE, |_, s| {
            s.any(|run| run.at == At::AskSeen && s.is_seen(run.event))
        }),
        Must::sometimes(name::OUTRUN, |_, s| {
            s.any(|run| run.at == At::Write && run.lease.version < s.fence)
        }),
        Must::sometimes(name::LIFTED, |_, s| s.any(|run| run.lifted)),
        Must::sometimes(name::LATE_CLEAR, |_, s| {
            s.late_clear > 0 && s.mark > 0 && s.late_clear != s.mark
        }),
        Must::sometimes(name::LEFT_MARKED, |_, s| s.waits()),
    ]
}

impl State {
    /// Nothing will ever happen again, until the schedule comes once more.
    fn is_over(&self) -> bool {
        self.quiet && self.is_settled()
    }

    /// Nothing but the schedule will make good for a change that nobody has acted on.
    fn waits(&self) -> bool {
        self.is_settled() && self.noted.acted < self.world
    }
}
