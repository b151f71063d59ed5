//! Everything that a step may depend on, and what the properties ask for.

/// Event `n` announces the world's `n`th change. Where many are meant, the last of them; 0: none.
pub type Event = u8;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub lock: Lock,
    pub mark: Option<Mark>,
    /// Ids of events that were recorded as seen: a bit for each.
    pub seen: u8,
    /// How often the world has changed.
    pub world: Event,
    pub fence: u8,
    /// Events that were answered with 2xx: a bit for each.
    pub answered: u8,
    /// Invocations, sorted: their order means nothing.
    pub runs: Vec<Run>,
    /// A clear that is still on its way.
    pub late: Option<Late>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    pub id: u8,
    /// The last event that it is there for.
    pub covers: Event,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Late {
    pub mark: u8,
    pub owner: u8,
    /// Its sender died before it could mark the region again.
    pub orphan: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Run {
    pub who: Who,
    pub at: At,
    pub lease: Option<Lease>,
    pub rounds: u8,
    /// The id of the mark that it read, or 0.
    pub read: u8,
    /// It has cleared a mark for events up to this one, and not looked since.
    pub owes: Event,
    /// Its lock was behind the fence, and is above it now.
    pub lifted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Who {
    Webhook(Event),
    /// On schedule or handed over to: neither leaves a mark.
    Pass,
}

/// What a run knows of the lock that it holds, or has held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lease {
    pub owner: u8,
    pub version: u8,
    /// It has ended, which its holder does not know.
    pub ended: bool,
}

/// The request that a run sends next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum At {
    AskSeen,
    Mark,
    RecordSeen,
    Acquire,
    ReadMark,
    ClearMark,
    BeginPass,
    Outbid { in_force: u8 },
    Write,
    MarkAgain,
    Release { looked: bool },
    Reread,
}

/// What no part of the system knows, for the properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Noted {
    /// Every change up to this was seen by a look that began after it.
    pub looked: Event,
    /// Events up to this may have lost their mark to a run that died.
    pub excused: Event,
    /// The last owner whose pass has begun.
    pub begun: u8,
    /// The highest version that was granted.
    pub granted: u8,
    /// Something happened after which an event may have to wait for the schedule.
    pub disturbed: bool,
    pub stale_write: bool,
    pub robbed: bool,
    pub version_reused: bool,
    pub cleared_in_vain: bool,
}

impl Run {
    pub(crate) fn new(who: Who, at: At) -> Self {
        Self {
            who,
            at,
            lease: None,
            rounds: 0,
            read: 0,
            owes: 0,
            lifted: false,
        }
    }

    pub(crate) fn holds(&self, lock: &Lock) -> bool {
        self.lease
            .is_some_and(|lease| lease.owner == lock.owner && lease.version == lock.version)
    }

    /// Has this clear on its way, and will mark the region again.
    pub(crate) fn makes_good_for(&self, late: &Late) -> bool {
        self.at == At::MarkAgain && self.lease.is_some_and(|lease| lease.owner == late.owner)
    }
}

impl State {
    /// Marks the region for events up to this one; an older mark stays unless it is renewed.
    pub(crate) fn set_mark(&mut self, event: Event, renew: bool) {
        let covers = self.mark.map_or(0, |mark| mark.covers).max(event);
        let id = match self.mark {
            Some(mark) if !renew => mark.id,
            // Random ids never meet again. The smallest that nobody knows keeps equal states equal.
            _ => (1..).find(|id| !self.is_known(*id)).unwrap_or_default(),
        };
        self.mark = Some(Mark { id, covers });
    }

    fn is_known(&self, mark: u8) -> bool {
        self.mark.is_some_and(|known| known.id == mark)
            || self.late.is_some_and(|late| late.mark == mark)
            || self.runs.iter().any(|run| run.read == mark)
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
            && self.late.is_none()
            && (1..=self.world).all(|event| self.is_answered(event))
    }
}
