//! What always holds, checked after each step. Numbers are those of the design's list.

mod decisions;
mod images;
mod launches;
mod lock;
mod machines;
mod slots;
mod view;
mod wakes;

use std::collections::BTreeSet;
use std::fmt;

use shared::ids::RegionName;
use shared::model::Intent;
use thiserror::Error;

use crate::facts::Fact;
use crate::faults::Fault;
use crate::gate::ProcessId;
use crate::world::World;

/// A rule, under a name that does not change: the tests that each check can fail name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// 1: a slot changes hands only by way of being free.
    SlotHasOneUser,
    /// 1: a user never holds more than the limit.
    UserLimit,
    /// 1: a repeated request gets the slot that the session holds.
    RepeatedRequestSameSlot,
    /// 1: users are put only where users may be.
    AssignedOnlyInService,
    /// 1: and only on an image that is served at that moment.
    AssignedOnlyServed,
    /// A client gets a slot of the build that it asks for.
    AssignedOwnBuild,
    /// 2: no occupied instance is drained by choice.
    OccupiedNotDrained,
    /// 2: none with a user and a living agent is given up.
    OccupiedNotTerminated,
    /// 3: an intent has one token, a token one intent, and no more machines than asked for.
    OneLaunchPerIntent,
    /// 3: EC2 is asked to launch only what was recorded.
    LaunchOnlyRecorded,
    /// 4: an intent is closed only when its machines have rows.
    ClosedOnlyWhenCovered,
    /// 5: rows, and what open intents may become, stay within `max_instances`, and within that
    /// and `upgrade_surge` while an upgrade is on.
    LiveWithinMaximum,
    /// 5: so do EC2's machines, those apart that a late request launched.
    MachinesWithinMaximum,
    /// 6: nothing of a served image is drained that its buffer needs, unless EC2 takes it, the
    /// maximum is exceeded, or the current image needs the room of the one before.
    UpgradeTakesNoFreeSlot,
    /// 6: what warms is drained only when a served image is short.
    WarmingIsLeft,
    /// A region has one current image at most, and one that warms.
    OneCurrentOneWarming,
    /// Images take only the ways that there are.
    ImagesMoveOnEdges,
    /// 8: and only a pass under the fence, a wish, or an operator moves them, each on its own ways.
    ImagesMovedByWhoMay,
    /// A pass moves an image only when it was shown what that is done for: it is warm and named,
    /// the app version turned back, its time is over.
    ImagesMoveForAReason,
    /// 7: whoever is told that its event was taken finds its region marked or looked at.
    WakeBeforeSeen,
    /// 7: a mark goes only when it was acted on; and when all functions have ended undisturbed,
    /// no region is wanted.
    WakeNotLost,
    /// 8: nobody takes a lock that another still relies on.
    OneHolder,
    /// 8: the database accepts no write from below the fence.
    NoWriteBelowFence,
    /// 8: the table accepts no write from who has lost the lock.
    NoWriteWithoutLock,
    /// 8: only a paused holder asks EC2 after another has taken the lock.
    NoAskWithoutLock,
    /// 8: EC2 is asked to end only what was committed to its end.
    TerminateOnlyCommitted,
    /// 9: no row goes, and no agent that is heard is given up, while the machine runs.
    NothingLivingRemoved,
    /// States of instances go forward only.
    StatesGoForward,
    /// A function understands what it is sent, panics at nothing, and makes no plan that it has
    /// to refuse.
    Answers,
    /// 4, 7: when faults stop, everything comes to rest within a bounded number of passes.
    Settles,
}

impl Check {
    pub const ALL: [Self; 30] = [
        Self::SlotHasOneUser,
        Self::UserLimit,
        Self::RepeatedRequestSameSlot,
        Self::AssignedOnlyInService,
        Self::AssignedOnlyServed,
        Self::AssignedOwnBuild,
        Self::OccupiedNotDrained,
        Self::OccupiedNotTerminated,
        Self::OneLaunchPerIntent,
        Self::LaunchOnlyRecorded,
        Self::ClosedOnlyWhenCovered,
        Self::LiveWithinMaximum,
        Self::MachinesWithinMaximum,
        Self::UpgradeTakesNoFreeSlot,
        Self::WarmingIsLeft,
        Self::OneCurrentOneWarming,
        Self::ImagesMoveOnEdges,
        Self::ImagesMovedByWhoMay,
        Self::ImagesMoveForAReason,
        Self::WakeBeforeSeen,
        Self::WakeNotLost,
        Self::OneHolder,
        Self::NoWriteBelowFence,
        Self::NoWriteWithoutLock,
        Self::NoAskWithoutLock,
        Self::TerminateOnlyCommitted,
        Self::NothingLivingRemoved,
        Self::StatesGoForward,
        Self::Answers,
        Self::Settles,
    ];
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A rule that did not hold, and how.
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

/// What the checks may look at besides the world.
#[derive(Debug)]
pub struct Scene<'s> {
    pub world: &'s World,
    pub agents: &'s crate::agents::Agents,
    /// Whom a fault has struck that makes it act when it should not any more.
    pub late: &'s BTreeSet<ProcessId>,
    /// The effect is of a request whose sender has given up or is dead.
    pub straggler: bool,
}

/// All checks, with what they remember of earlier steps.
#[derive(Debug, Default)]
pub struct Checks {
    slots: slots::Slots,
    machines: machines::Machines,
    launches: launches::Launches,
    lock: lock::Lock,
    wakes: wakes::Wakes,
    images: images::Images,
    decisions: decisions::Decisions,
    found: Vec<Violation>,
}

impl Checks {
    /// One step's facts, and the state that it left.
    pub fn after_step(&mut self, scene: &Scene<'_>, facts: &[(ProcessId, Fact)]) {
        let found = &mut self.found;
        for (process, fact) in facts {
            self.lock.fact(scene, *process, fact, found);
            self.launches.fact(scene, fact, found);
            self.wakes.fact(scene, *process, fact, found);
            self.slots.fact(fact, found);
        }
        let rows = scene.world.database.rows();
        self.slots.state(&rows.tables, found);
        self.machines.state(scene, &rows.tables, found);
        self.images.step(&rows.tables, facts, found);
        self.decisions.step(scene, &rows.tables, facts, found);
        drop(rows);
        for (_, fact) in facts {
            self.machines.fact(fact, found);
        }
    }

    /// A fault struck a function; every region that it looks at may have to wait.
    pub fn fault(&mut self, fault: Fault) {
        self.wakes.fault(fault);
    }

    /// An event was taken from its sender for good: the sender sends it no more.
    pub fn event_taken(&mut self, event: &crate::events::DatabaseEvent) {
        self.wakes.taken(event, &mut self.found);
    }

    /// An intent that was there before the run.
    pub fn recorded_before(&mut self, region: &RegionName, intent: &Intent) {
        self.launches.recorded_before(region, intent);
    }

    /// An operator set an image's state.
    pub fn image_set_by_hand(&mut self, region: &RegionName) {
        self.images.by_hand(region);
    }

    pub fn event_made(&mut self, id: &str) {
        self.wakes.made(id);
    }

    /// No function runs.
    pub fn quiet(&mut self, world: &World) {
        self.wakes.quiet(world, &mut self.found);
    }

    pub fn report(&mut self, violation: Violation) {
        self.found.push(violation);
    }

    /// The first rule that did not hold.
    pub fn first(&self) -> Option<&Violation> {
        self.found.first()
    }
}
