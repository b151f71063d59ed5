//! What is checked: the protocol or a variant of it, and how much may happen.

/// Looks of one pass before it hands over, as in `shared::pass`.
pub(crate) const ROUNDS: u8 = 3;

/// So many holders there are only if each brings forth another.
pub(crate) const TOO_MANY: u8 = 12;

/// The protocol, or what it would be with one rule changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    AsBuilt,
    /// Postgres takes every write, whatever its version.
    NoFence,
    /// A lock that is behind the fence is not lifted above it.
    NoOutbid,
    /// The holder leaves after its release, without a look at the mark.
    NoReread,
    /// So does one whose release was not answered.
    UnansweredReleaseLeaves,
    /// An event's id is recorded before its region is marked.
    SeenBeforeMarked,
    /// A region that is marked is not marked anew.
    MarkOnlyIfUnset,
    /// A clear takes whatever mark it finds.
    MarksWithoutIds,
    /// The mark is read while the region is looked at, not before.
    ReadWithLook,
    /// The mark is cleared before the look.
    ClearBeforeLook,
    /// The mark is cleared after the look, before it is acted on.
    ClearAfterLook,
    /// The mark is cleared although it was not shown that the lock was still the holder's.
    ClearUnrecorded,
    /// A holder goes on after a decision that was not recorded, or a mark that was not cleared.
    UnsettledGoesOn,
    /// A new holder gets its predecessor's version.
    VersionsStandStill,
    /// A release frees the lock, whoever holds it.
    ReleaseOfAnyLock,
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
    /// Marks can be cleared. If not, each clear fails, in the last scheduled pass too.
    pub clears: bool,
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
        clears: true,
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
}
