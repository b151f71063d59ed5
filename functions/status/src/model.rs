//! What there is to tell, whatever it is rendered as. Nothing in it names a user.

use jiff::Timestamp;
use serde::Serialize;
use shared::history::{OpenIntent, Point, StoredDecision};
use shared::ids::{ClientSha, ImageId, Owner, RegionName};
use shared::model::{CapacityRefusal, Instance};
use shared::overview::{ImageOverview, InstanceCounts, SettingsOverview};

/// Whether passes run; the answer of `/healthz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// 1 if no region is stale, else 0.
    pub status: u8,
    /// Regions that should have passes and have had none for too long.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<RegionName>,
}

/// Every region; the answer of `/`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// 1 if every region could be read and none is stale, else 0.
    pub status: u8,
    /// Always: there is no other server that would know better.
    #[serde(rename = "isMaster")]
    pub is_master: bool,
    /// The database's clock; none without a region.
    pub now: Option<Timestamp>,
    pub stale_seconds: i64,
    pub stale: Vec<RegionName>,
    pub regions: Vec<RegionStatus>,
}

/// One region and a page of its decisions; the answer of `/regions/NAME`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RegionPage {
    pub now: Timestamp,
    pub region: RegionStatus,
    /// By id, with their slots counted; of an algorithm that keeps no rows, none.
    pub instances: Vec<Instance>,
    /// Where the next ones are; none after the last.
    pub more_instances: Option<String>,
    /// Newest first, their long lists shortened.
    pub decisions: Vec<DecisionStatus>,
    /// Where the page of older ones is; none after the last.
    pub older: Option<String>,
    /// Drawn, not told.
    #[serde(skip)]
    pub past: Past,
    /// The newest decision in full: of an algorithm without rows it lists what there is.
    #[serde(skip)]
    pub newest: Option<DecisionStatus>,
}

/// What is shown of a region's past besides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    /// Oldest first.
    pub points: Vec<Point>,
    /// Newest first.
    pub decisions: Vec<DecisionStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RegionStatus {
    pub region: RegionName,
    pub algorithm: String,
    pub enabled: bool,
    pub paused: bool,
    /// None where DynamoDB could not be read.
    pub stale: Option<bool>,
    /// Free slots that it should have: none while it is disabled.
    pub target: u32,
    /// These four are counted from rows. For an algorithm that keeps no rows of instances, the
    /// first two are those of the last decision, and there are no others.
    pub free: Option<u32>,
    pub starting: Option<u32>,
    pub occupied: Option<u32>,
    pub instances: Option<InstanceCounts>,
    /// Users refused for want of capacity in the last minute and not served since.
    pub waiting: u32,
    pub images: Vec<ImageOverview>,
    pub upgrade: UpgradeStatus,
    /// The last pass that began to look, whatever became of it.
    pub looked: Option<Looked>,
    /// DynamoDB could not be read: everything below but the settings is not known.
    pub unreadable: bool,
    pub lock: Option<LockStatus>,
    /// The id of whoever wants it to be looked at once more.
    pub wanted_by: Option<String>,
    pub open_intents: Vec<OpenIntent>,
    /// Launch choices that EC2 had no capacity for, and until when they are not asked again.
    pub refusals: Vec<CapacityRefusal>,
    /// There are more of both than are told.
    pub more: bool,
    pub last_decision: Option<DecisionStatus>,
    /// How often the lock was taken since without a decision: passes that failed, or died.
    pub undecided: Option<i64>,
    pub settings: SettingsOverview,
}

/// A pass that began to look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Looked {
    pub at: Timestamp,
    /// Its lock's version; its decision has the same.
    pub version: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UpgradeStatus {
    /// What the environment's app version names.
    pub app_client_sha: Option<ClientSha>,
    pub warming: Option<WarmingImage>,
    pub baking: Vec<BakingImage>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WarmingImage {
    pub image: ImageId,
    pub client_sha: ClientSha,
    pub since: Option<Timestamp>,
    /// It has failed if it is not current by then.
    pub deadline: Option<Timestamp>,
    /// Whether the app version names its client already.
    pub named: bool,
    pub target: u32,
    pub free: u32,
    pub starting: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BakingImage {
    pub image: ImageId,
    pub client_sha: ClientSha,
    pub since: Option<Timestamp>,
    /// It is kept for a rollback until then.
    pub until: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LockStatus {
    pub held: bool,
    /// None after a release. One that is there although the lock is not held has died, or will
    /// find that it lost the lock.
    pub holder: Option<Owner>,
    pub version: i64,
    pub since: Option<Timestamp>,
    pub age_seconds: Option<i64>,
    pub until: Option<Timestamp>,
}

/// A decision, and where it is to be found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecisionStatus {
    /// Its id, `REGION/VERSION`: `GET /decisions/ID`.
    pub decision: String,
    #[serde(flatten)]
    pub past: StoredDecision,
}

impl From<StoredDecision> for DecisionStatus {
    fn from(past: StoredDecision) -> Self {
        Self {
            decision: format!("{}/{}", past.region, past.version),
            past,
        }
    }
}
