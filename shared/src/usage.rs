//! The port of the history of sessions: who used what for how long. Unlike [`crate::history`], which has
//! what passes decided, its sessions name users; its [`figures`] do not.

pub mod figures;

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::db::DbError;
use crate::ids::{ImageId, InstanceId, RegionName};
use figures::RegionUsage;

/// Reads sessions; writes nothing.
#[async_trait]
pub trait SessionHistory: Send + Sync {
    /// The next `limit` sessions that got their slot from `from` until before `to`, by that time and by
    /// the slot, after a place in that order.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn sessions(
        &self,
        from: Timestamp,
        to: Timestamp,
        after: Option<&Place>,
        limit: u32,
    ) -> Result<Vec<SessionRecord>, DbError>;

    /// The figures of a region, or of each, by region and time: of each step that begins from `from` until
    /// before `to`, the current one until now. A step has one minute to one hour. If it is an hour, hours
    /// that nobody counted in time are missing.
    ///
    /// # Errors
    /// When the database does not answer, and for more than 32 days, or 60 steps below an hour.
    async fn figures(
        &self,
        region: Option<&RegionName>,
        from: Timestamp,
        to: Timestamp,
        step: SignedDuration,
    ) -> Result<Vec<RegionUsage>, DbError>;
}

/// One session on one slot, current or ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionRecord {
    pub user: String,
    pub session: String,
    pub region: RegionName,
    pub instance_id: InstanceId,
    pub image_id: ImageId,
    /// None if the instance had no row any more when the session ended.
    pub instance_type: Option<String>,
    pub slot_id: String,
    /// When its user asked, or was refused, for the first time.
    pub requested_at: Timestamp,
    pub assigned_at: Timestamp,
    pub connected_at: Option<Timestamp>,
    pub running_at: Option<Timestamp>,
    /// None while it lasts.
    pub ended_at: Option<Timestamp>,
    pub end_reason: Option<EndReason>,
    /// Which limit, or how the instance was lost.
    pub end_detail: Option<String>,
    pub waited: SignedDuration,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EndReason {
    /// Its agent reported the end, and nobody had asked for it.
    Agent,
    User,
    Operator,
    /// A limit of the region or of the request.
    Limit,
    /// Its instance was found dead, or silent before its user had connected.
    Lost,
    /// EC2 took its instance, or had announced to.
    Interrupted,
    /// Its user did not connect in time.
    NeverClaimed,
    /// Its instance took no users any more before its user had connected, and it got another slot.
    Moved,
}

/// A place in the order of the sessions: when one got its slot, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub assigned_at: Timestamp,
    pub slot_id: String,
}

impl SessionRecord {
    pub fn place(&self) -> Place {
        Place {
            assigned_at: self.assigned_at,
            slot_id: self.slot_id.clone(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.assigned_at, self.slot_id)
    }
}

/// The text is not a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPlace;

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let (at, slot) = text.split_once('_').ok_or(NoPlace)?;
        let is_uuid = slot.len() == 36
            && slot.bytes().enumerate().all(|(n, byte)| match n {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            });
        let assigned_at = at.parse().map_err(|_| NoPlace)?;
        is_uuid
            .then(|| Self {
                assigned_at,
                slot_id: slot.to_owned(),
            })
            .ok_or(NoPlace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_read_as_it_is_written() {
        let text = "2026-01-01T12:00:00.000001Z_00000000-0000-0000-0000-00000000000a";
        let place: Place = text.parse().unwrap();
        assert_eq!(place.to_string(), text);
        for other in [
            "",
            "_",
            "2026-01-01T12:00:00Z",
            "2026-01-01T12:00:00Z_",
            "2026-01-01T12:00:00Z_1",
            "soon_00000000-0000-0000-0000-00000000000a",
            "2026-01-01T12:00:00Z_00000000-0000-0000-0000-00000000000g",
            "2026-01-01T12:00:00Z_00000000000000000000-0000-0000-0000-00000a",
        ] {
            assert_eq!(other.parse::<Place>(), Err(NoPlace), "{other}");
        }
    }
}
