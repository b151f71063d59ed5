//! A state of the model: the stores, the invocations, and what the properties need to know.

use std::fmt;

/// Event `n` announces the `n`th change. Where it stands for several events, it is the last of
/// them; 0 means none.
pub type Event = u8;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    pub lock: Lock,
    /// The wake mark's id; 0 if it is not set.
    pub mark: u8,
    /// Ids of events that were recorded as seen, one bit each.
    pub seen: u8,
    /// The last change, which is also the number of changes so far.
    pub changed: Event,
    pub fence: u8,
    /// Events that were answered with 2xx, one bit each.
    pub answered: u8,
    /// Sorted, since their order means nothing and equal states must compare as equal.
    pub invocations: Vec<Invocation>,
    /// The id of the mark for which a clear is still on its way; 0 if there is none.
    pub delayed_clear: u8,
    /// How many duplicates, scheduled passes and faults are still allowed.
    pub duplicates: u8,
    pub scheduled: u8,
    pub faults: u8,
    /// The final scheduled pass has started: there are no more events and faults.
    pub is_final: bool,
    pub history: History,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lock {
    /// The number of the acquisition: unique, like the random owner that it stands for.
    pub owner: u8,
    pub version: u8,
    /// Neither released nor expired.
    pub held: bool,
}

/// A function that was started and has not ended.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Invocation {
    /// The event that the webhook was called for; 0 for a pass that is scheduled or handed over,
    /// which sets no mark.
    pub event: Event,
    /// The request that it sends next.
    pub next: Request,
    pub lease: Lease,
    pub rounds: u8,
    /// The id of the mark that it read; 0 if it read none.
    pub mark: u8,
    /// The last change in its observation; 0 before the observation and after its write.
    pub observed: Event,
    /// Its lock was below the fence and has been raised above it.
    pub advanced: bool,
}

/// What an invocation knows of the lock that it holds or held; owner 0 if it never did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lease {
    pub owner: u8,
    pub version: u8,
    /// The lease has ended. Only the properties know; its holder does not.
    pub ended: bool,
}

/// A request to a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Request {
    CheckSeen,
    SetMark,
    RecordSeen,
    #[default]
    Acquire,
    ReadMark,
    ListInstances,
    BeginPass,
    AdvancePastFence {
        fence: u8,
    },
    Write,
    /// In a transaction that checks the lock.
    RecordDecision,
    ClearMark,
    Release {
        settled: bool,
    },
    RereadMark,
}

/// What happened so far. The properties need it; no part of the system knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct History {
    /// The last event that the region was marked for.
    pub marked: Event,
    /// Every change up to this one was observed, and the plan that followed was written.
    pub acted: Event,
    /// The last owner whose pass has begun.
    pub begun: u8,
    /// The highest version that was granted.
    pub granted: u8,
    /// Something happened after which an event may be left to the schedule.
    pub disturbed: bool,
    /// A write was accepted after a newer holder's pass had begun.
    pub stale_write: bool,
    /// The lock was acquired before its holder's lease had ended.
    pub lease_ignored: bool,
    pub version_reused: bool,
}

impl Invocation {
    pub(crate) fn webhook(event: Event) -> Self {
        Self {
            event,
            next: Request::CheckSeen,
            ..Self::default()
        }
    }

    pub(crate) fn holds(&self, lock: &Lock) -> bool {
        (self.lease.owner, self.lease.version) == (lock.owner, lock.version)
    }
}

impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.event {
            0 => write!(f, "pass")?,
            event => write!(f, "webhook of event {event}")?,
        }
        if self.lease.owner > 0 {
            write!(f, ", holder {}", self.lease.owner)?;
        }
        write!(f, ": {:?}", self.next)
    }
}

impl State {
    pub(crate) fn any(&self, is: impl Fn(&Invocation) -> bool) -> bool {
        self.invocations.iter().any(is)
    }

    /// Sets a mark with a new id.
    pub(crate) fn set_mark(&mut self) {
        let is_used =
            |id| self.mark == id || self.delayed_clear == id || self.any(|one| one.mark == id);
        // Random ids never repeat. The smallest id that is not in use keeps equal states equal.
        let new = (1..).find(|id| !is_used(*id));
        self.mark = new.unwrap_or_default();
    }

    pub(crate) fn is_seen(&self, event: Event) -> bool {
        self.seen & (1 << event) != 0
    }

    pub(crate) fn is_answered(&self, event: Event) -> bool {
        self.answered & (1 << event) != 0
    }

    /// Nothing is in progress, and no event has to be delivered again.
    pub(crate) fn is_settled(&self) -> bool {
        self.invocations.is_empty()
            && self.delayed_clear == 0
            && (1..=self.changed).all(|event| self.is_answered(event))
    }
}
