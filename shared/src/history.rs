//! Reading what passes have stored in DynamoDB, without a lock. Every method is one request,
//! however old the service is.

mod stored_decision;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

pub use stored_decision::{
    StoredDecision, StoredNote, StoredPlan, StoredReason, StoredStep, StoredTrigger,
};

use crate::ids::{ClientSha, ImageId, LaunchId, Owner, RegionName};
use crate::lock::LockError;
use crate::model::{Intent, Refusal};
use crate::scaling::Counts;

/// The most decisions in one page. A large decision has 300 KB, and DynamoDB answers 1 MB at once.
pub const PAGE: u32 = 50;

/// Reads stored items; writes nothing.
#[async_trait]
pub trait History: Send + Sync {
    /// A region's lock, wake mark, open intents and refusals.
    async fn records(&self, region: &RegionName) -> Result<RegionRecords, LockError>;

    /// The newest decisions below a version, newest first: at most `limit`, fewer if they are
    /// large.
    async fn decisions(
        &self,
        region: &RegionName,
        below: Option<i64>,
        limit: u32,
    ) -> Result<DecisionPage, LockError>;

    /// One decision; none if there never was one, or it has expired.
    async fn decision(
        &self,
        region: &RegionName,
        version: i64,
    ) -> Result<Option<StoredDecision>, LockError>;

    /// When the newest decision was made.
    async fn decided_at(&self, region: &RegionName) -> Result<Option<Timestamp>, LockError>;

    /// The region's counts from `since` on, oldest first. If they do not fit into one answer, the
    /// oldest are missing.
    async fn points(&self, region: &RegionName, since: Timestamp) -> Result<Vec<Point>, LockError>;
}

/// The counts of a decision, for charts. Of all decisions within [`Point::EVERY`], the last one is
/// kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub at: Timestamp,
    pub counts: Counts,
}

impl Point {
    pub const EVERY: SignedDuration = SignedDuration::from_secs(10);
    /// How long points are kept.
    pub const KEPT: SignedDuration = SignedDuration::from_hours(24);

    /// The start of the interval that `at` is in.
    pub fn slot(at: Timestamp) -> Timestamp {
        let seconds = at.as_second();
        let slot = seconds - seconds.rem_euclid(Self::EVERY.as_secs());
        Timestamp::from_second(slot).unwrap_or(at)
    }
}

/// A region's items, without its decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionRecords {
    /// None before the first pass.
    pub lock: Option<LockItem>,
    /// The id of the event or request that set the wake mark.
    pub marked_by: Option<String>,
    /// Ordered by launch id.
    pub open_intents: Vec<OpenIntent>,
    /// May contain expired ones: DynamoDB deletes late.
    pub refusals: Vec<Refusal>,
    /// The region has more items than one request reads.
    pub is_truncated: bool,
}

/// The lock, held or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockItem {
    /// Unique for each attempt to acquire it.
    pub owner: Owner,
    pub version: i64,
    /// When its holder acquired it; none if an earlier version of the service did.
    pub since: Option<Timestamp>,
    /// 1970-01-01 after a release.
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

/// A page of decisions, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecisionPage {
    pub decisions: Vec<StoredDecision>,
    /// Where the next page begins: below this version. None on the last page.
    pub next: Option<i64>,
}
