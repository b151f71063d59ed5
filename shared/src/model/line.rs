//! The line of a region and client hash: the users who were refused for lack of capacity and still
//! ask. And what passes tell them: when slots will be free, and whether the region can launch.

use jiff::Timestamp;
use serde::Serialize;

use crate::ids::ClientSha;

/// A line, as a pass observes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Whom it is for: images of this hash serve its users.
    pub client_sha: ClientSha,
    pub users: u32,
    /// How many sessions have ended since `ends_since` and left their slot to the next user: the last
    /// ones, within five minutes.
    pub session_ends: u32,
    pub ends_since: Timestamp,
}

/// From this time on, this many slots in all have become free since the forecast was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ExpectedSlots {
    pub at: Timestamp,
    pub slots: u32,
}

/// When slots become free that serve one client hash. Both times and slots increase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Forecast {
    pub client_sha: ClientSha,
    pub steps: Vec<ExpectedSlots>,
}

/// What a pass tells users in line, and other regions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outlook {
    /// When the region was observed, by the database's clock.
    pub made_at: Timestamp,
    /// One for each client hash for which anything is expected.
    pub forecasts: Vec<Forecast>,
    /// The region can launch nothing before this time, as far as is known. Until then, users who would
    /// be served in another region, too, are demand there. None: it can.
    pub no_capacity_until: Option<Timestamp>,
}
