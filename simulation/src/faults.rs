//! What can go wrong, and how often. A seed chooses its own kinds and rates, because a run with two
//! kinds of faults finds what a run with all of them hides.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Fault {
    // Faults of functions
    CrashBefore,
    CrashAfter,
    /// The function dies, and its last request arrives much later.
    CrashInFlight,
    TimeLimit,
    NoAnswerBefore,
    NoAnswerAfter,
    /// The caller gives up, and the request arrives later.
    LateRequest,
    /// The whole function stands still, perhaps past the end of its lease.
    Pause,
    ClockSkew,
    // Faults of events and the schedule
    EventLost,
    EventTwice,
    EventDelayed,
    ScheduleMissed,
    ScheduleTwice,
    // Faults of EC2
    NoCapacity,
    PartialCapacity,
    Throttled,
    ListingLags,
    ListingEmpty,
    /// Terminated machines lose their tags at once or soon.
    TagsVanish,
    MachineDies,
    /// EC2 announces that it takes the machine in two minutes, and does so.
    Interruption,
    /// EC2 announces that it may take the machine.
    Rebalance,
    /// EC2 ends a machine soon after it accepted the launch.
    LaunchDies,
    /// EC2 announces soon after the launch that it may take the machine.
    EarlyRebalance,
    /// A machine with this stack's tags is launched that is recorded nowhere.
    StrayMachine,
    /// Permissions or settings do not allow a launch.
    LaunchRefused,
    // Faults of host agents and users
    NeverBoots,
    AgentDies,
    AgentSilent,
    SlotNotClaimed,
    /// An agent's transaction holds its instance for a while.
    RowHeld,
    /// All sessions on an instance end at once.
    SessionsCrash,
    // Faults of images
    ImageNeverBoots,
    /// The image's agents die soon after they started.
    ImageDies,
    /// The image was not copied to the region.
    ImageMissing,
}

impl Fault {
    pub const ALL: [Self; 36] = [
        Self::CrashBefore,
        Self::CrashAfter,
        Self::CrashInFlight,
        Self::TimeLimit,
        Self::NoAnswerBefore,
        Self::NoAnswerAfter,
        Self::LateRequest,
        Self::Pause,
        Self::ClockSkew,
        Self::EventLost,
        Self::EventTwice,
        Self::EventDelayed,
        Self::ScheduleMissed,
        Self::ScheduleTwice,
        Self::NoCapacity,
        Self::PartialCapacity,
        Self::Throttled,
        Self::ListingLags,
        Self::ListingEmpty,
        Self::TagsVanish,
        Self::MachineDies,
        Self::Interruption,
        Self::Rebalance,
        Self::StrayMachine,
        Self::LaunchRefused,
        Self::NeverBoots,
        Self::AgentDies,
        Self::AgentSilent,
        Self::SlotNotClaimed,
        Self::ImageNeverBoots,
        Self::ImageDies,
        Self::ImageMissing,
        Self::LaunchDies,
        Self::EarlyRebalance,
        Self::RowHeld,
        Self::SessionsCrash,
    ];

    /// The probability of the fault at each occasion, in a thousand, at its full rate.
    pub(crate) fn permille(self) -> u64 {
        match self {
            Self::CrashBefore
            | Self::CrashAfter
            | Self::CrashInFlight
            | Self::LateRequest
            | Self::Pause => 15,
            Self::NoAnswerBefore | Self::NoAnswerAfter => 25,
            // It is not drawn: it follows from other faults.
            Self::TimeLimit => 0,
            Self::ClockSkew => 700,
            Self::EventLost
            | Self::EventTwice
            | Self::EventDelayed
            | Self::ScheduleMissed
            | Self::ScheduleTwice => 250,
            // Drawn at each change of EC2's conditions.
            Self::NoCapacity
            | Self::PartialCapacity
            | Self::Throttled
            | Self::ListingLags
            | Self::TagsVanish
            | Self::LaunchRefused => 300,
            Self::ListingEmpty => 150,
            Self::MachineDies
            | Self::Interruption
            | Self::Rebalance
            | Self::AgentDies
            | Self::AgentSilent
            | Self::StrayMachine => 150,
            Self::NeverBoots | Self::SlotNotClaimed => 200,
            Self::RowHeld => 600,
            // Drawn for each launched machine.
            Self::LaunchDies | Self::EarlyRebalance => 600,
            Self::SessionsCrash => 300,
            // Drawn for each image of each build.
            Self::ImageNeverBoots | Self::ImageDies => 300,
            Self::ImageMissing => 100,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("{self:?}");
        for (place, letter) in name.char_indices() {
            if letter.is_uppercase() && place > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{}", letter.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

/// How often each fault happened.
pub type Counts = BTreeMap<Fault, u64>;
