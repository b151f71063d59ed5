//! What is checked: the protocol or a variant of it, within bounds.

/// Rounds of one pass before it hands over; the same number as in `shared`'s pass.
pub(crate) const ROUNDS: u8 = 3;

/// The bounds allow fewer acquisitions than this, unless passes trigger each other without end.
pub(crate) const TOO_MANY_ACQUISITIONS: u8 = 12;

/// The protocol, or the protocol with one rule changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    AsBuilt,
    /// Postgres accepts every write, whatever its version.
    NoFence,
    /// A lock whose version is below the fence is not raised above it.
    NoAdvancePastFence,
    /// The holder ends after its release and does not read the mark again.
    NoReread,
    /// A holder whose release was not answered ends, and does not read the mark again.
    UnansweredReleaseEndsPass,
    /// An event is recorded as seen before its region is marked.
    SeenBeforeMarked,
    /// A region that is marked already keeps its old mark.
    MarkOnlyIfUnset,
    /// A clear removes any mark, not only the one that was read.
    MarksWithoutIds,
    /// The mark is read during the observation, not before it.
    ReadDuringObserve,
    /// The mark is cleared before the observation.
    ClearBeforeObserve,
    /// The mark is cleared after the observation and before the plan is executed.
    ClearBeforeExecute,
    /// The mark is cleared although no record proves that the holder still has the lock.
    ClearWithoutRecord,
    /// A holder continues after a decision that was not recorded, or a mark that was not cleared.
    UnsettledContinues,
    /// A new holder gets its predecessor's version.
    VersionsRepeat,
    /// A release frees the lock, whichever invocation holds it.
    ReleaseWithoutOwner,
}

/// The most that may happen.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Changes of the region's state, each with one event.
    pub events: u8,
    /// Deliveries of an event that was answered or is being handled.
    pub duplicates: u8,
    /// Scheduled passes, besides the final one.
    pub scheduled: u8,
    pub faults: u8,
    /// If false, every clear fails, in the final pass too.
    pub clears_succeed: bool,
    /// Invocations at the same time.
    pub invocations: usize,
    /// The fence at the beginning. Above 0 it means that the lock's table was recreated.
    pub fence: u8,
}

impl Bounds {
    pub const SMALL: Self = Self {
        events: 1,
        duplicates: 0,
        scheduled: 1,
        faults: 0,
        clears_succeed: true,
        invocations: 3,
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
