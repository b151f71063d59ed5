//! What DynamoDB keeps of passes, for somebody who only looks: every answer costs one request,
//! whatever the age of the service.

mod stored_decision;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

pub use stored_decision::{
    StoredDecision, StoredNote, StoredPlan, StoredReason, StoredStep, StoredTrigger,
};

use crate::ids::{ClientSha, ImageId, LaunchId, Owner, RegionName};
use crate::lock::LockError;
use crate::model::{CapacityRefusal, Intent};
use crate::scaling::Counts;

/// How many decisions a page holds at most; one that was written in full takes 300 KB.
pub const PAGE: u32 = 50;

/// Reads only.
#[async_trait]
pub trait History: Send + Sync {
    /// Who is at a region, and what passes remember of it.
    async fn standing(&self, region: &RegionName) -> Result<RegionRecords, LockError>;

    /// The newest decisions below a version, newest first: `limit` at most, and fewer where they
    /// are large.
    async fn decisions(
        &self,
        region: &RegionName,
        below: Option<i64>,
        limit: u32,
    ) -> Result<DecisionPage, LockError>;

    /// One decision; none when there never was one, or when it has been forgotten.
    async fn decision(
        &self,
        region: &RegionName,
        version: i64,
    ) -> Result<Option<StoredDecision>, LockError>;

    /// When the newest decision was made.
    async fn decided_at(&self, region: &RegionName) -> Result<Option<Timestamp>, LockError>;

    /// The region's figures since then, oldest first; only the newest of them, if it had very many
    /// passes.
    async fn points(&self, region: &RegionName, since: Timestamp) -> Result<Vec<Point>, LockError>;
}

/// What a decision rested on: the last one's of each [`Point::EVERY`], however many there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub at: Timestamp,
    pub counts: Counts,
}

impl Point {
    pub const EVERY: SignedDuration = SignedDuration::from_secs(10);
    /// How long points are kept.
    pub const KEPT: SignedDuration = SignedDuration::from_hours(24);

    /// The beginning of the time that has one point.
    pub fn slot(at: Timestamp) -> Timestamp {
        let seconds = at.as_second();
        let slot = seconds - seconds.rem_euclid(Self::EVERY.as_secs());
        Timestamp::from_second(slot).unwrap_or(at)
    }
}

/// A region's items besides its decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionRecords {
    /// None before the first pass.
    pub lock: Option<LockItem>,
    /// The id of whoever wants the region to be looked at once more.
    pub wanted_by: Option<String>,
    /// By launch.
    pub open_intents: Vec<OpenIntent>,
    /// Those that have run out may still be there.
    pub refusals: Vec<CapacityRefusal>,
    /// There is more than one request reads.
    pub more: bool,
}

/// The lock, held or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockItem {
    /// Unique for each attempt to take it.
    pub owner: Owner,
    pub version: i64,
    /// When its holder took it; none where an earlier version of the service did.
    pub since: Option<Timestamp>,
    /// In 1970 after a release.
    pub expires_at: Timestamp,
}

/// An intent without its secrets: user data and client token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenIntent {
    pub launch: LaunchId,
    pub since: Timestamp,
    pub image: ImageId,
    pub client_sha: ClientSha,
    pub spot: bool,
    pub instance_type: String,
    pub subnet_id: String,
    pub count: u32,
    /// Slots per instance.
    pub capacity: u32,
}

impl From<Intent> for OpenIntent {
    fn from(intent: Intent) -> Self {
        let request = intent.request;
        Self {
            launch: intent.launch_id,
            since: intent.created_at,
            image: request.image_id,
            client_sha: request.client_sha,
            spot: request.spot,
            instance_type: request.instance_type,
            subnet_id: request.subnet_id,
            count: request.count,
            capacity: request.capacity,
        }
    }
}

/// Some decisions, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecisionPage {
    pub decisions: Vec<StoredDecision>,
    /// Older ones, if there are any, are below this version.
    pub next: Option<i64>,
}
