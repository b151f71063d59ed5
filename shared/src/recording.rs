//! The port of what a region's past is played again from: arrivals, sessions, boots and machine time.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use crate::db::DbError;
use crate::ids::RegionName;
use crate::settings::Columns;

/// Sessions of one recording at most: in memory, a session takes as much as three times.
pub const MOST_SESSIONS: usize = 1_000_000;

/// Reads what a region had; writes nothing.
#[async_trait]
pub trait Recordings: Send + Sync {
    /// What the region had from one time until another, both moved back to a whole hour unless they
    /// are less than one apart, with the sessions that began up to `before` earlier and had not ended
    /// then.
    ///
    /// # Errors
    /// When the region has no row, the database does not answer, or there were more than
    /// [`MOST_SESSIONS`].
    async fn recording(
        &self,
        region: &RegionName,
        from: Timestamp,
        to: Timestamp,
        before: SignedDuration,
    ) -> Result<Recording, RecordingError>;
}

#[derive(Debug, Error)]
pub enum RecordingError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error("{0} had more than {MOST_SESSIONS} sessions in this time: ask for a shorter one")]
    TooMany(RegionName),
}

/// What a region had in a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    pub region: RegionName,
    /// The region's row now, over the defaults of the environment.
    pub settings: Columns,
    pub from: Timestamp,
    pub to: Timestamp,
    pub sessions: Vec<RecordedSession>,
    /// By when they asked first.
    pub unserved: Vec<RecordedVisit>,
    /// Seconds from the launch of an instance until it registered.
    pub boots: Vec<f64>,
    /// Instances that registered,
    pub registered: u32,
    /// and those that never did.
    pub never_registered: u32,
    /// Slots of those that registered.
    pub slots: u32,
    pub machine_seconds: f64,
}

/// One session, without its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedSession {
    /// When its user asked, or was refused, for the first time.
    pub requested_at: Timestamp,
    pub assigned_at: Timestamp,
    /// None while it lasts.
    pub ended_at: Option<Timestamp>,
}

/// A user who left without a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedVisit {
    /// When they asked first.
    pub requested_at: Timestamp,
    /// From then until they asked last.
    pub stayed: SignedDuration,
}
