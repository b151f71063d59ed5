//! A small model of a region's lock, wake mark and fence, for a checker that visits all of its
//! states ([`stateright`]). Tests of the real thing try some orders of events; this tries all.
//!
//! # What is modelled
//!
//! One region. The world changes, and each change is announced by an event that is delivered
//! until it is answered with 2xx, perhaps twice. Its webhook asks whether the event was seen,
//! marks the region (with a new id, over whatever mark there is), records the event as seen, and
//! tries the lock. A pass on schedule, or one handed over to, goes straight for the lock. The
//! holder reads the mark, lists the machines, begins its pass (which raises the fence and reads
//! the database, in one transaction), writes under the fence, records its decision (which shows
//! that the lock is still its own), clears the mark that it read, releases and reads the mark
//! again. If it could not look, record or clear, it releases and leaves the rest to the schedule.
//! So `shared::pass`, `shared::observe` and `shared::lock`, request by request. A request to a
//! store is one step; between any two, everybody else may take theirs. A change between the two
//! halves of a look counts as not seen: so it makes no difference which of them is sent first.
//!
//! Time is only an order here. A lease may end at any moment after it was granted, whether its
//! holder is dead, paused or merely thinks that it has time left: what a margin for clocks keeps
//! rare has to be harmless. A pass may be told at any time that another round would take too long.
//!
//! Faults, up to a number of all kinds together ([`How`]): an invocation dies before any of its
//! requests; a lease ends under a holder that goes on; an acquisition takes effect unanswered (its
//! sender asks again and finds its own name), or is refused since a transaction touches the lock
//! (its sender takes it for held); a look fails before or after it raised the fence; a record fails;
//! a clear is sent twice and the second copy comes at any later time, or it is given up by its
//! sender and comes late, or never; a release is not answered, or never arrives. One fault may
//! last: that no clear ever works ([`Bounds::clears`]).
//!
//! # Bounds
//!
//! [`Bounds`], one or two of which the tests stretch at a time: three events, or two and one of
//! them twice; two scheduled passes and one last; three invocations at once; three rounds, as the
//! real pass; three faults. Every path ends ([`name::NO_LOOP`]), with a last scheduled pass without
//! faults. What has to happen *eventually* is asked of the states there.
//!
//! # What is left out
//!
//! - Steps that fail, or that there is no time for. They are reported and recorded, and the mark
//!   goes all the same: to have acted is to have tried.
//! - Requests that fail again and again, other than clears.
//! - EC2, which cannot be fenced, and DynamoDB's intents, whose transactions check the lock's own
//!   item. Deciding and acting is one fenced write.
//! - Requests that fail or go unanswered where their sender gives up: a webhook's are as good as
//!   its death, since the event comes again; an outbid's, or a release's by a holder that leaves,
//!   as the holder's. An acquisition that takes effect late is to all others a pass that dies at
//!   once. A marking that comes twice or late costs a look and no more: it only adds a mark.
//! - The second look of an event that speaks for a bucket of time, which marks and looks like an
//!   event of its own; orders by hand, which mark like events; several regions, which share
//!   nothing; a retry of a pass that was handed over to and died.
//! - How long anything takes. That the schedule comes within a minute is not shown here.
//!
//! # What it shows
//!
//! No mark is lost, whoever dies and whatever comes late: it lasts until what it was set for was
//! acted on ([`name::MARK_LASTS`]). Whoever looks next, for whatever reason, finds it. One that
//! cannot be cleared brings forth no passes of its own ([`name::NO_LOOP`]). For each
//! rule there is a [`Variant`] without it, and the checker tells what goes wrong then.

mod actions;
mod properties;
mod protocol;
mod state;
mod steps;

pub use actions::{Action, How};
pub use properties::name;
pub use protocol::{Bounds, Protocol, Variant};
pub use state::{At, Event, Lease, Lock, Noted, Run, State};
