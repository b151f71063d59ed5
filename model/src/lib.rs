//! A small model of a region's lock, wake mark and fence, for a checker that visits all of its
//! states ([`stateright`]). Tests of the real thing try some orders of events; this tries all.
//!
//! # What is modelled
//!
//! One region. The world changes, and each change is announced by an event that is delivered
//! until it is answered with 2xx, perhaps twice. Its webhook asks whether the event was seen,
//! marks the region, records the event as seen, and tries the lock. A pass on schedule, or one
//! handed over to, goes straight for the lock. The holder reads the mark, clears it, begins its
//! pass (which raises the fence and looks, in one transaction), writes under the fence, releases
//! and reads the mark again: `shared::pass`, `shared::observe` and `shared::lock`, request by
//! request. A request to a store is one step; between any two, everybody else may take theirs.
//!
//! Time is only an order here. A lease may end at any moment after it was granted, whether its
//! holder is dead, paused or merely thinks that it has time left: what a margin for clocks keeps
//! rare has to be harmless. A pass may be told at any time that another round would take too long.
//!
//! Faults, up to a number of all kinds together: an invocation dies before any of its requests;
//! a lease ends under a holder that goes on; an acquisition takes effect unanswered (its sender
//! asks again and finds its own name); a clear is sent twice and the second copy comes at any
//! later time; a clear is given up by its sender and comes late; a look fails, or raises the fence
//! and is not answered.
//!
//! # Bounds
//!
//! [`Bounds`]: the tests go up to two events, one of them twice; two scheduled passes and one
//! last; three invocations at once; three rounds, as the real pass; and three faults. Each step
//! uses something up, so every path ends; it ends with a last scheduled pass without faults. What
//! has to happen *eventually* is therefore asked of the states at the end.
//!
//! # What is left out
//!
//! - EC2, which cannot be fenced, and DynamoDB's intents, whose transactions check the lock's own
//!   item. What a look sees is all that is wanted of it; deciding and acting is one fenced write.
//! - Requests that fail or go unanswered where their sender gives up: a webhook's are as good as
//!   its death, since the event comes again; a release's, or a failed marking again, as the
//!   holder's. An acquisition that takes effect late is to all others a pass that dies at once.
//! - The second look of an event that speaks for a bucket of time, which marks and looks like an
//!   event of its own; orders by hand, which mark like events; several regions, which share
//!   nothing; a retry of a pass that was handed over to and died.
//! - How long anything takes. That the schedule comes within a minute is not shown here.
//!
//! # What it found
//!
//! [`Variant::OutrunForgetsMark`] and [`Variant::MarkAgainKeepsOld`] are how the pass was first
//! built. And what it shows of the design: a holder that dies between its clear and its look takes
//! the mark with it ([`name::DIED_WITH_MARK`]), so the event waits for the schedule. With
//! [`Variant::KeepUntilLooked`] there is no such moment.

mod actions;
mod properties;
mod protocol;
mod state;
mod steps;

pub use actions::{Action, How};
pub use properties::name;
pub use protocol::{Bounds, Protocol, Variant};
pub use state::{At, Event, Late, Lease, Lock, Mark, Noted, Run, State, Who};
