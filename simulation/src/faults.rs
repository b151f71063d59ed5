//! What goes wrong, and how often. A seed chooses its own kinds and rates: a run with two kinds
//! of faults finds what one with all of them drowns.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Fault {
    // To a function
    CrashBefore,
    CrashAfter,
    /// It dies, and its last request still arrives, much later.
    CrashInFlight,
    TimeLimit,
    NoAnswerBefore,
    NoAnswerAfter,
    /// The caller gives up, and the request arrives later.
    LateRequest,
    /// The whole function stands still, past its lease perhaps.
    Pause,
    ClockSkew,
    // To events
    EventLost,
    EventTwice,
    EventDelayed,
    ScheduleMissed,
    ScheduleTwice,
    // To EC2
    NoCapacity,
    PartialCapacity,
    Throttled,
    ListingLags,
    ListingEmpty,
    MachineDies,
    /// EC2 gives two minutes' notice, and takes the machine.
    Interruption,
    /// EC2 says that it may take the machine.
    Rebalance,
    /// Somebody launches a machine with our tags.
    StrayMachine,
    /// Permissions or settings do not let a launch through.
    LaunchRefused,
    // To host agents
    NeverBoots,
    AgentDies,
    AgentSilent,
    SlotNotClaimed,
    // To images
    ImageNeverBoots,
    /// Its agents die soon after they came up.
    ImageDies,
    /// It was not copied to the region.
    ImageMissing,
}

impl Fault {
    pub const ALL: [Self; 31] = [
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
    ];

    /// Only upgrades meet them.
    pub(crate) fn is_of_images(self) -> bool {
        matches!(
            self,
            Self::ImageNeverBoots | Self::ImageDies | Self::ImageMissing
        )
    }

    /// How often it happens at each occasion, in a thousand, when a seed has it at full rate.
    pub(crate) fn permille(self) -> u64 {
        match self {
            Self::CrashBefore
            | Self::CrashAfter
            | Self::CrashInFlight
            | Self::LateRequest
            | Self::Pause => 15,
            Self::NoAnswerBefore | Self::NoAnswerAfter => 25,
            // Not chosen: it follows from others.
            Self::TimeLimit => 0,
            Self::ClockSkew => 700,
            Self::EventLost
            | Self::EventTwice
            | Self::EventDelayed
            | Self::ScheduleMissed
            | Self::ScheduleTwice => 250,
            // At each change of EC2's weather.
            Self::NoCapacity
            | Self::PartialCapacity
            | Self::Throttled
            | Self::ListingLags
            | Self::LaunchRefused => 300,
            Self::ListingEmpty => 150,
            Self::MachineDies
            | Self::Interruption
            | Self::Rebalance
            | Self::AgentDies
            | Self::AgentSilent
            | Self::StrayMachine => 150,
            Self::NeverBoots | Self::SlotNotClaimed => 200,
            // At each image of each build.
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
