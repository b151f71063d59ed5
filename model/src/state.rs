//! Everything that a step may depend on, and what the properties ask for.

use std::fmt;

/// Event `n` announces the world's `n`th change. Where many are meant, the last of them; 0: none.
pub type Event = u8;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    pub lock: Lock,
    /// The wake mark's id; 0: there is none.
    pub mark: u8,
    /// Ids of events that were recorded as seen: a bit for each.
    pub seen: u8,
    /// How often the world has changed.
    pub world: Event,
    pub fence: u8,
    /// Events that were answered with 2xx: a bit for each.
    pub answered: u8,
    /// Invocations, sorted: their order means nothing.
    pub runs: Vec<Run>,
    /// The mark that a clear is for which is still on its way; 0: there is none.
    pub late_clear: u8,
    pub duplicates: u8,
    pub schedules: u8,
    pub faults: u8,
    /// Nothing happens any more but the last scheduled pass.
    pub quiet: bool,
    pub noted: Noted,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lock {
    /// The how-manieth acquisition it was: unique, like the random owner that it stands for.
    pub owner: u8,
    pub version: u8,
    /// Neither released nor expired.
    pub held: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Run {
    /// What its webhook was called for; 0: a pass on schedule or handed over to, which leaves
    /// no mark.
    pub event: Event,
    pub at: At,
    pub lease: Lease,
    pub rounds: u8,
    /// The id of the mark that it read, or 0.
    pub read: u8,
    /// What its look sees, until it has acted on it.
    pub sees: Event,
    /// Its lock was behind the fence, and is above it now.
    pub lifted: bool,
}

/// What a run knows of the lock that it holds, or has held; owner 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lease {
    pub owner: u8,
    pub version: u8,
    /// It has ended, which its holder does not know.
    pub ended: bool,
}

/// The request that a run sends next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum At {
    AskSeen,
    Mark,
    RecordSeen,
    #[default]
    Acquire,
    ReadMark,
    List,
    BeginPass,
    Outbid {
        in_force: u8,
    },
    Write,
    /// The decision, in a transaction that checks the lock.
    Record,
    ClearMark,
    Release {
        settled: bool,
    },
    Reread,
}

/// What no part of the system knows, for the properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Noted {
    /// The last event that the region was marked for.
    pub marked: Event,
    /// Every change up to this was seen by a look, and what came of that look was written.
    pub acted: Event,
    /// The last owner whose pass has begun.
    pub begun: u8,
    /// The highest version that was granted.
    pub granted: u8,
    /// Something happened after which an event may have to wait for the schedule.
    pub disturbed: bool,
    pub stale_write: bool,
    pub robbed: bool,
    pub version_reused: bool,
}

impl Run {
    pub(crate) fn webhook(event: Event) -> Self {
        let mut run = Self::default();
        (run.event, run.at) = (event, At::AskSeen);
        run
    }

    pub(crate) fn holds(&self, lock: &Lock) -> bool {
        (self.lease.owner, self.lease.version) == (lock.owner, lock.version)
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.event {
            0 => write!(f, "pass")?,
            event => write!(f, "webhook of event {event}")?,
        }
        if self.lease.owner > 0 {
            write!(f, ", holder {}", self.lease.owner)?;
        }
        write!(f, ": {:?}", self.at)
    }
}

impl State {
    pub(crate) fn any(&self, is: impl Fn(&Run) -> bool) -> bool {
        self.runs.iter().any(is)
    }

    /// Sets a mark with a new id.
    pub(crate) fn set_mark(&mut self) {
        let is_known =
            |id| self.mark == id || self.late_clear == id || self.any(|run: &Run| run.read == id);
        // Random ids never meet again. The smallest that nobody knows keeps equal states equal.
        let new = (1..).find(|id| !is_known(*id));
        self.mark = new.unwrap_or_default();
    }

    pub(crate) fn is_seen(&self, event: Event) -> bool {
        self.seen & (1 << event) != 0
    }

    pub(crate) fn is_answered(&self, event: Event) -> bool {
        self.answered & (1 << event) != 0
    }

    /// Nothing is under way, and nothing to be sent again.
    pub(crate) fn is_settled(&self) -> bool {
        self.runs.is_empty()
            && self.late_clear == 0
            && (1..=self.world).all(|event| self.is_answered(event))
    }
}
