//! What a step or a note of a plan is about.

use serde::{Serialize, Serializer};

/// Readers of a plan group steps and notes by it. Decisions are stored with its name: variants may
/// be added, but not renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Launches, and the repetition of a recorded one.
    Launch,
    /// Why fewer instances are launched than are needed.
    Capacity,
    /// Whether enough is free.
    Buffer,
    Drain,
    Terminate,
    /// Rows that are deleted.
    Removal,
    /// Differences between EC2 and the database.
    Drift,
    /// Instances whose agent does not send heartbeats.
    Heartbeat,
    /// Tokens of host agents.
    Token,
    Slots,
    /// Images: their states, and the users on old ones.
    Image,
    /// How far an upgrade is.
    Upgrade,
    Replica,
    Address,
    /// Removals that the guard stopped.
    Guard,
    /// The region as a whole.
    Region,
    /// What the next pass has to know. It changes nothing outside of the service.
    Record,
}

impl Topic {
    /// The name in stored decisions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Capacity => "capacity",
            Self::Buffer => "buffer",
            Self::Drain => "drain",
            Self::Terminate => "terminate",
            Self::Removal => "removal",
            Self::Drift => "drift",
            Self::Heartbeat => "heartbeat",
            Self::Token => "token",
            Self::Slots => "slots",
            Self::Image => "image",
            Self::Upgrade => "upgrade",
            Self::Replica => "replica",
            Self::Address => "address",
            Self::Guard => "guard",
            Self::Region => "region",
            Self::Record => "record",
        }
    }
}

impl Serialize for Topic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
