//! What must hold in every state, and examples that show how far the model gets.

use stateright::{Model, Property};

use crate::protocol::{Protocol, ROUNDS, TOO_MANY_ACQUISITIONS};
use crate::state::{Request, State};

/// The names of the properties, followed by those of the examples.
pub mod name {
    pub const ONE_WRITER: &str = "no write is accepted once a newer holder's pass has begun";
    pub const LEASE_RESPECTED: &str = "the lock is not acquired while its holder's lease lasts";
    pub const VERSIONS_GROW: &str = "each holder's version is higher than all before";
    /// Neither a holder that dies nor a request that arrives late removes a mark.
    pub const MARK_KEPT: &str = "a mark stays until the change that it was set for was acted on";
    pub const SEEN_IS_MARKED: &str = "a seen event is marked or acted on";
    pub const NONE_LEFT: &str = "without disturbance, no event is left to the schedule";
    /// So the next pass knows of it.
    pub const LEFT_IS_MARKED: &str = "an event that is left to the schedule is marked";
    pub const PASSES_END: &str = "passes that follow from each other come to an end";
    pub const ALL_ACTED_ON: &str = "in the end every change was observed and acted on";
    pub const AT_REST: &str = "in the end the mark is not set and the lock is free";
    /// A property of the model itself: without it, the end might never be reached and checked.
    pub const NEVER_STUCK: &str = "an action is possible, or the end is reached";

    pub const LOCK_HELD: &str = "a webhook finds the lock held";
    pub const HANDED_OVER: &str = "a mark is set after the last round";
    pub const DELIVERED_AGAIN: &str = "an event is delivered that was seen before";
    pub const STALE_HOLDER: &str = "a holder whose version is below the fence is about to write";
    pub const ADVANCED: &str = "a lock is raised above the fence";
    pub const DELAYED_CLEAR: &str = "a clear is delayed while a newer mark is set";
    pub const LEFT_TO_SCHEDULE: &str = "an event is left to the schedule";
}

type Must = Property<Protocol>;

pub(crate) fn all() -> Vec<Must> {
    vec![
        Must::always(name::ONE_WRITER, |_, s| !s.history.stale_write),
        Must::always(name::LEASE_RESPECTED, |_, s| !s.history.lease_ignored),
        Must::always(name::VERSIONS_GROW, |_, s| !s.history.version_reused),
        Must::always(name::MARK_KEPT, |_, s| {
            s.mark > 0 || s.history.marked <= s.history.acted
        }),
        Must::always(name::SEEN_IS_MARKED, |_, s| {
            let mut pending = s.history.acted + 1..=s.changed;
            s.mark > 0 || !pending.any(|event| s.is_seen(event))
        }),
        Must::always(name::NONE_LEFT, |_, s| {
            s.history.disturbed || !s.is_left_to_schedule()
        }),
        Must::always(name::LEFT_IS_MARKED, |_, s| {
            s.mark > 0 || !s.is_left_to_schedule()
        }),
        Must::always(name::PASSES_END, |_, s| {
            s.lock.owner < TOO_MANY_ACQUISITIONS
        }),
        Must::always(name::ALL_ACTED_ON, |_, s| {
            !s.is_over() || !s.is_left_to_schedule()
        }),
        Must::always(name::AT_REST, |_, s| {
            !s.is_over() || (s.mark == 0 && !s.lock.held)
        }),
        Must::always(name::NEVER_STUCK, |p, s| {
            s.is_over() || !p.next_steps(s).is_empty()
        }),
        Must::sometimes(name::LOCK_HELD, |_, s| {
            s.lock.held && s.any(|one| one.event > 0 && one.next == Request::Acquire)
        }),
        Must::sometimes(name::HANDED_OVER, |_, s| {
            s.mark > 0 && s.any(|one| one.next == Request::RereadMark && one.rounds == ROUNDS)
        }),
        Must::sometimes(name::DELIVERED_AGAIN, |_, s| {
            s.any(|one| one.next == Request::CheckSeen && s.is_seen(one.event))
        }),
        Must::sometimes(name::STALE_HOLDER, |_, s| {
            s.any(|one| one.next == Request::Write && one.lease.version < s.fence)
        }),
        Must::sometimes(name::ADVANCED, |_, s| s.any(|one| one.advanced)),
        Must::sometimes(name::DELAYED_CLEAR, |_, s| {
            s.delayed_clear > 0 && s.mark > 0 && s.delayed_clear != s.mark
        }),
        Must::sometimes(name::LEFT_TO_SCHEDULE, |_, s| s.is_left_to_schedule()),
    ]
}

impl State {
    /// Nothing more can happen: the final scheduled pass has ended.
    fn is_over(&self) -> bool {
        self.is_final && self.is_settled()
    }

    /// A change was not acted on, and only the schedule can start the pass that does.
    fn is_left_to_schedule(&self) -> bool {
        self.is_settled() && self.history.acted < self.changed
    }
}
