//! A model of a region's lock, wake mark and fence. The checker [`stateright`] visits every state
//! of it. Tests of the real code try some orders of events; the model tries all of them.
//!
//! # What is modelled
//!
//! One region. Its state changes, and each change is announced by an event. The event is delivered
//! until it is answered with 2xx, perhaps twice. A request to a store is one step, and between any
//! two steps every other invocation may take its own. The steps follow `shared`'s pass, its
//! observation and its lock, request by request:
//!
//! 1. A webhook checks whether its event was seen before. If not, it sets the region's wake mark
//!    (with a new id, replacing the mark that is there), records the event as seen, and tries to
//!    acquire the lock. A pass that is scheduled or handed over starts with the lock.
//! 2. The holder reads the mark, lists the instances, and begins its pass: one transaction that
//!    raises the fence and reads the database.
//! 3. It writes under the fence and records its decision, which proves that it still holds the lock.
//! 4. It clears the mark that it read, releases the lock, and reads the mark again. If a mark is
//!    set, it starts another round.
//!
//! A holder that could not observe, record or clear only releases the lock. The schedule does the
//! rest. A change between listing the instances and reading the database counts as not observed, so
//! the order of these two requests does not matter.
//!
//! Time is only an order here. A lease may end at any moment after it was granted, whether its
//! holder is dead, paused, or believes that it has time left. A margin for clock differences makes
//! this rare in reality; here it has to be harmless. A pass may be told at any time that another
//! round would take too long.
//!
//! # Faults
//!
//! The number of faults of all kinds ([`Outcome`]) is bounded:
//!
//! - An invocation dies before any of its requests.
//! - A lease ends while its holder continues.
//! - An acquisition takes effect but its answer is lost. The sender asks again and finds its own name.
//! - An acquisition is rejected because a transaction touches the lock. The sender takes it for held.
//! - An observation fails before or after it raised the fence.
//! - A decision cannot be recorded.
//! - A clear is sent twice and the second copy arrives later; or its sender gives it up and it
//!   arrives later, or never.
//! - The answer to a release is lost, or the release never arrives.
//!
//! One fault can be permanent: no clear ever succeeds ([`Bounds::clears_succeed`]).
//!
//! # Bounds
//!
//! [`Bounds`], of which each test raises one or two: three events, or two of which one is delivered
//! twice; two scheduled passes and a final one; three invocations at once; three rounds, as in the
//! real pass; three faults. Every path ends ([`name::PASSES_END`]) with a final scheduled pass
//! without faults. What must happen *eventually* is checked in the states there.
//!
//! # What is left out
//!
//! - Plan steps that fail, or that there is no time for. They are reported and recorded, and the mark
//!   is cleared anyway: an attempt counts as acting.
//! - Requests that fail repeatedly, other than clears.
//! - EC2, which cannot be fenced, and the intents in DynamoDB, whose transactions check the lock's
//!   item. Deciding and executing is one fenced write.
//! - Failed or unanswered requests whose sender gives up. For a webhook this equals its death, since
//!   the event is delivered again. For a holder that advances past the fence, or releases after a
//!   failure, it equals the holder's death. An acquisition that takes effect late equals a pass that
//!   dies at once. A mark that is set twice or late only causes one more observation.
//! - The second observation for an event that stands for a bucket of time: it marks and observes
//!   like an event of its own. Passes requested by hand, which mark like events. Several regions,
//!   which share nothing. A retry of a pass that was handed over and died.
//! - Durations. That the schedule comes within a minute is not shown here.
//!
//! # What it shows
//!
//! No mark is lost, whichever invocation dies and whatever arrives late: a mark stays until the change
//! that it was set for was acted on ([`name::MARK_KEPT`]). The next pass finds it, whatever triggered
//! that pass. A mark that cannot be cleared does not cause passes by itself ([`name::PASSES_END`]).
//! For each rule of the protocol there is a [`Variant`] without it, and the checker shows which
//! properties are violated then.

mod actions;
mod properties;
mod protocol;
mod state;
mod steps;

pub use actions::{Action, Outcome};
pub use properties::name;
pub use protocol::{Bounds, Protocol, Variant};
pub use state::{Event, History, Invocation, Lease, Lock, Request, State};
