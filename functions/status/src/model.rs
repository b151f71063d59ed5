//! The models of the answers, rendered as JSON or as pages. They contain no users.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use shared::doctor::Report;
use shared::history::{OpenIntent, Point, StoredDecision};
use shared::ids::{ClientSha, ImageId, Owner, RegionName};
use shared::model::{DayCost, Instance, Refusal};
use shared::overview::{ImageOverview, InstanceCounts, LineOverview, SettingsOverview};
use shared::settings::{BadSetting, ScheduleKind};

/// Whether passes run; the answer of `/healthz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// 1 if no region is stale and nothing else is wrong, else 0.
    pub status: u8,
    /// Regions that should have passes but have no recent one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<RegionName>,
    /// What keeps the service as a whole from its work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<&'static str>,
}

/// Every region; the answer of `/`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// 1 if there are regions, each could be read, and none is stale; else 0.
    pub status: u8,
    /// Always true. SimpleScaleVM's callers expect the field.
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
    /// Sorted by id, with slot counts. Empty with an algorithm that keeps no rows.
    pub instances: Vec<Instance>,
    /// The path of the next page; none on the last.
    pub more_instances: Option<String>,
    /// Newest first, with shortened lists.
    pub decisions: Vec<DecisionStatus>,
    /// The path of the page with older ones; none on the last.
    pub older: Option<String>,
    /// Of the days of a month, newest first: today until now. Days are those of UTC.
    pub costs: Vec<DayCost>,
    /// For the charts of the page only.
    #[serde(skip)]
    pub past: Past,
    /// The newest decision in full: with an algorithm without rows, it lists the replicas.
    #[serde(skip)]
    pub newest: Option<DecisionStatus>,
}

/// A region's history, for charts and lists.
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
    /// The free slots that the region should have. 0 while it is disabled.
    pub target: u32,
    /// This field and the next three are counted from rows. With an algorithm that keeps no rows,
    /// `free` and `starting` come from the last decision, and the others are none.
    pub free: Option<u32>,
    pub starting: Option<u32>,
    pub occupied: Option<u32>,
    pub instances: Option<InstanceCounts>,
    /// Users in line who are demand of this region. Those who could also be served where slots can
    /// still be launched are demand there.
    pub waiting: u32,
    /// Users who were refused for lack of capacity and still ask, by client hash.
    pub lines: Vec<LineOverview>,
    /// The region can launch nothing until then; none if it can, as far as is known.
    pub no_capacity_until: Option<Timestamp>,
    pub images: Vec<ImageOverview>,
    pub upgrade: UpgradeStatus,
    /// The last pass that began to observe, also if it failed.
    pub looked: Option<Looked>,
    /// DynamoDB could not be read: all fields below except the last two are
    /// unknown.
    pub unreadable: bool,
    pub lock: Option<LockStatus>,
    /// The id that set the region's wake mark, if it is set.
    pub wanted_by: Option<String>,
    pub open_intents: Vec<OpenIntent>,
    /// Launch choices that EC2 had no capacity for, and until when they are not tried again.
    pub refusals: Vec<Refusal>,
    /// There are more intents and refusals than are listed.
    pub more: bool,
    pub last_decision: Option<DecisionStatus>,
    /// How often the lock was taken since the last decision: passes that failed or crashed.
    pub undecided: Option<i64>,
    /// When its schedules are in force within a week from now.
    pub schedule: Vec<ScheduledTime>,
    pub settings: SettingsOverview,
    /// Columns of its row that cannot work: without them no pass runs, or nothing is launched.
    pub setting_problems: Vec<BadSetting>,
}

/// A time in which a schedule is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScheduledTime {
    pub from: Timestamp,
    pub until: Timestamp,
    /// The same times by the clocks of the schedule's zone.
    pub local: String,
    pub time_zone: String,
    pub schedule: i64,
    pub kind: ScheduleKind,
    pub slots: u32,
    pub set_by: String,
    pub note: String,
    /// The last date on which the schedule begins; none without an end.
    pub valid_until: Option<Date>,
}

/// A pass that began to observe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Looked {
    pub at: Timestamp,
    /// The version of its lock, which is also that of its decision.
    pub version: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UpgradeStatus {
    /// The client that the environment's app version names.
    pub app_client_sha: Option<ClientSha>,
    pub warming: Option<WarmingImage>,
    pub baking: Vec<BakingImage>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WarmingImage {
    pub image: ImageId,
    pub client_sha: ClientSha,
    pub since: Option<Timestamp>,
    /// The upgrade fails if the image is not current by then.
    pub deadline: Option<Timestamp>,
    /// Whether the app version names its client.
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
    /// When it stops being kept for a rollback.
    pub until: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LockStatus {
    pub held: bool,
    /// None after a release. A holder of a lock that is not held has crashed, or has lost the lock and
    /// not noticed yet.
    pub holder: Option<Owner>,
    pub version: i64,
    pub since: Option<Timestamp>,
    pub age_seconds: Option<i64>,
    pub until: Option<Timestamp>,
}

/// A decision and its id.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecisionStatus {
    /// `REGION/VERSION`, as in `GET /decisions/REGION/VERSION`.
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

/// The last examination of the deployment; none if there is no recent one.
#[derive(Clone, Debug, Serialize)]
pub struct DoctorStatus {
    pub doctor: Option<Report>,
}
