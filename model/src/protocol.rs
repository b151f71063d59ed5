//! What is checked: the protocol or a variant of it, and how much may happen.

/// The protocol, or what it would be with one rule changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    AsDesigned,
    /// Postgres takes every write, whatever its version.
    NoFence,
    /// A lock that is behind the fence is not lifted above it.
    NoOutbid,
    /// The holder leaves after its release, without a look at the mark.
    NoReread,
    /// The mark is cleared when the region has been observed.
    ClearAfterLook,
    /// An event's id is recorded before its region is marked.
    SeenBeforeMarked,
    /// A clear takes whatever mark it finds.
    MarksWithoutIds,
    /// A new holder gets its predecessor's version.
    VersionsStandStill,
    /// A release frees the lock, whoever holds it.
    ReleaseOfAnyLock,
    /// A holder that finds itself outrun does not set again the mark that it has cleared.
    OutrunForgetsMark,
    /// A holder that could not look sets the mark again only if it finds none. But the one that
    /// it finds may be the one that its own clear is on its way to.
    MarkAgainKeepsOld,
    /// Another protocol, which needs no marking again: every wake sets a new mark, and the
    /// holder clears the one that it read once it has looked.
    KeepUntilLooked,
}

/// How much happens at most.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Changes of the world, each with one event.
    pub events: u8,
    /// Events delivered once more although nothing failed.
    pub duplicates: u8,
    /// Scheduled passes, besides the last one.
    pub schedules: u8,
    pub faults: u8,
    /// Looks of one pass before it hands over.
    pub rounds: u8,
    /// Invocations at the same time.
    pub at_once: usize,
    /// The fence at the beginning. Above 0: the lock's table was made anew.
    pub fence: u8,
}

impl Bounds {
    pub const SMALL: Self = Self {
        events: 1,
        duplicates: 0,
        schedules: 1,
        faults: 0,
        rounds: 3,
        at_once: 3,
        fence: 0,
    };
}

#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    pub variant: Variant,
    pub bounds: Bounds,
}

impl Protocol {
    pub(crate) fn is(&self, variant: Variant) -> bool {
        self.variant == variant
    }

    pub(crate) fn clears_before_look(&self) -> bool {
        !self.is(Variant::ClearAfterLook) && !self.is(Variant::KeepUntilLooked)
    }
}
