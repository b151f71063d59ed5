//! The rules that are checked, and their violations.

use std::fmt;

use thiserror::Error;

/// A rule. Its name is stable, because the tests of the checks name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// 1: a slot gets another user only after it was free.
    SlotHasOneUser,
    /// 1: a user never holds more slots than the limit.
    UserLimit,
    /// 1: a repeated request gets the slot that the session holds.
    RepeatedRequestSameSlot,
    /// 1: users are assigned only to `ACTIVE` instances.
    AssignedOnlyInService,
    /// 1: users are assigned only to images that are served at that moment.
    AssignedOnlyServed,
    /// 11: an instance whose sessions end at once does not get users before others do.
    HonestSlotsFirst,
    /// A client gets a slot of the build that it requested.
    AssignedRequestedBuild,
    /// 10: nobody gets a slot while there are no more free ones than users ahead who still ask.
    NobodyOvertaken,
    /// 10: a user is not refused while a slot is free for them, when all ahead have got one.
    NoFreeSlotKept,
    /// 10: a user who is served waits in no line any more, and it is known how long they waited.
    ServedUserLeavesLines,
    /// A user in line is demand in one region: the first of theirs that can launch.
    DemandOnce,
    /// 10: the place in the answer is the user's place in one of their lines.
    PlaceIsTrue,
    /// Every session on a slot has one row in the history once it has ended, and every instance once its row
    /// is gone: none is lost, none is doubled.
    EachInHistoryOnce,
    /// 2: an occupied instance is never drained by choice.
    OccupiedNotDrained,
    /// 2: an instance with a user and a living agent is not terminated.
    OccupiedNotTerminated,
    /// 2: a pass lets a session end only by its limit, and its agent knows that in time.
    EndsByLimitWithWarning,
    /// 3: an intent has one token, a token one intent, and there are no more machines than
    /// requested.
    OneLaunchPerIntent,
    /// 3: EC2 gets only launch requests that were recorded.
    LaunchOnlyIfRecorded,
    /// 4: an intent is closed only when its machines have rows.
    ClosedOnlyWithRows,
    /// 5: rows, and the machines that open intents may become, stay within `max_instances`, or
    /// within `max_instances` and `upgrade_surge` during an upgrade.
    LiveWithinMaximum,
    /// 5: so do EC2's machines, apart from those that a late request launched.
    MachinesWithinMaximum,
    /// 12: nothing is launched from a pool that rests.
    RestingPoolNotLaunched,
    /// 12: no more than `launches_per_hour` instances are requested within an hour.
    LaunchesWithinHour,
    /// 6: no instance of a served image is drained that the buffer needs, unless EC2 takes it, the
    /// maximum is exceeded, or the current image needs the room of the previous one.
    UpgradeKeepsFreeSlots,
    /// 6: an instance of a warming image is drained only when a served image has too few free
    /// slots.
    WarmingNotDrained,
    /// A region has at most one current and at most one warming image.
    OneCurrentOneWarming,
    /// Images change state only along the permitted edges.
    ImagesMoveOnEdges,
    /// 8: only a pass under the fence, a request, or an operator moves an image, each along its own
    /// edges.
    ImagesMovedByPermittedActor,
    /// A pass moves an image only for a reason that it has observed: the image is warm and named,
    /// the app version was reverted, or its time is over.
    ImagesMoveForAReason,
    /// 7: when the sender of an event learns that it was accepted, the region has been marked or
    /// observed.
    WakeBeforeEventSeen,
    /// 7: a wake mark is cleared only after it was acted on. When all functions have ended without
    /// a fault, no region is marked.
    WakeNotLost,
    /// 8: no one acquires a lock on which another holder still relies.
    OneLockHolder,
    /// 8: the database accepts no write under a version below the fence.
    NoWriteBelowFence,
    /// 8: the table accepts no write from a caller that has lost the lock.
    NoWriteWithoutLock,
    /// 8: only a holder that was paused calls EC2 after another one has acquired the lock.
    NoEc2CallWithoutLock,
    /// 8: EC2 is asked to terminate only instances that were `TERMINATING`.
    TerminateOnlyIfCommitted,
    /// 9: while a machine runs, its row is not removed, and it is not given up if its agent sends
    /// heartbeats.
    NothingRunningRemoved,
    /// The states of instances only go forward, but for a drain that is taken back in time.
    StatesGoForward,
    /// A function understands every event, never panics, and makes no plan that its own check
    /// rejects.
    FunctionsRespond,
    /// 4, 7: after the faults have stopped, the system converges within a bounded number of passes.
    Converges,
}

impl Check {
    pub const ALL: [Self; 40] = [
        Self::SlotHasOneUser,
        Self::UserLimit,
        Self::RepeatedRequestSameSlot,
        Self::AssignedOnlyInService,
        Self::AssignedOnlyServed,
        Self::AssignedRequestedBuild,
        Self::HonestSlotsFirst,
        Self::NobodyOvertaken,
        Self::NoFreeSlotKept,
        Self::ServedUserLeavesLines,
        Self::PlaceIsTrue,
        Self::DemandOnce,
        Self::EachInHistoryOnce,
        Self::OccupiedNotDrained,
        Self::OccupiedNotTerminated,
        Self::EndsByLimitWithWarning,
        Self::OneLaunchPerIntent,
        Self::LaunchOnlyIfRecorded,
        Self::ClosedOnlyWithRows,
        Self::LiveWithinMaximum,
        Self::MachinesWithinMaximum,
        Self::RestingPoolNotLaunched,
        Self::LaunchesWithinHour,
        Self::UpgradeKeepsFreeSlots,
        Self::WarmingNotDrained,
        Self::OneCurrentOneWarming,
        Self::ImagesMoveOnEdges,
        Self::ImagesMovedByPermittedActor,
        Self::ImagesMoveForAReason,
        Self::WakeBeforeEventSeen,
        Self::WakeNotLost,
        Self::OneLockHolder,
        Self::NoWriteBelowFence,
        Self::NoWriteWithoutLock,
        Self::NoEc2CallWithoutLock,
        Self::TerminateOnlyIfCommitted,
        Self::NothingRunningRemoved,
        Self::StatesGoForward,
        Self::FunctionsRespond,
        Self::Converges,
    ];
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A rule that was violated, and how.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{check}: {text}")]
pub struct Violation {
    pub check: Check,
    pub text: String,
}

impl Violation {
    pub fn new(check: Check, text: impl Into<String>) -> Self {
        Self {
            check,
            text: text.into(),
        }
    }
}
