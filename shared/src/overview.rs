//! The port of the status page's view of the database: counts of all regions, and one region's
//! instances in pages. It has no data of single users.

use async_trait::async_trait;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;

use crate::db::DbError;
use crate::ids::{ClientSha, ImageId, InstanceId, RegionName};
use crate::model::{DayCost, ImageState, Instance};
use crate::settings::{BadSetting, Schedule};

/// Reads rows and counts; writes nothing.
#[async_trait]
pub trait Overview: Send + Sync {
    /// Every region that has a row, ordered by name, in one request that counts all instances and
    /// slots.
    async fn regions(&self) -> Result<Vec<RegionOverview>, DbError>;

    /// The same rows without counts of instances and slots: cheap, however large the fleet is.
    async fn rows(&self) -> Result<Vec<RegionRow>, DbError>;

    /// What the region's instances have cost on each day in UTC, from one until before another, newest
    /// first. Empty without a database.
    async fn costs(
        &self,
        region: &RegionName,
        from: Date,
        to: Date,
    ) -> Result<Vec<DayCost>, DbError>;

    /// The region's next `limit` instances after an id, ordered by id, with their slots counted.
    async fn instances(
        &self,
        region: &RegionName,
        after: Option<&InstanceId>,
        limit: u32,
    ) -> Result<Vec<Instance>, DbError>;
}

/// What says whether a region should have passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionRow {
    pub region: RegionName,
    pub enabled: bool,
    pub paused: bool,
    /// When its row was inserted.
    pub created_at: Timestamp,
    /// The database's clock.
    pub now: Timestamp,
}

/// A region's row, with counts of its images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionOverview {
    pub region: RegionName,
    pub enabled: bool,
    pub paused: bool,
    pub algorithm: String,
    pub settings: SettingsOverview,
    /// What is wrong with its row: a column without which no pass runs, or columns that keep it from
    /// launching.
    pub problems: Vec<BadSetting>,
    /// The free slots that it should have now, by its schedules and `target_free`, while it is enabled.
    pub target: u32,
    pub schedules: Vec<Schedule>,
    /// When its row was inserted.
    pub created_at: Timestamp,
    /// The database's clock.
    pub now: Timestamp,
    /// Users in line who are demand of this region, as a pass counts them.
    pub waiting: u32,
    /// Its lines that have users, by client hash, wherever the users are demand.
    pub lines: Vec<LineOverview>,
    /// It can launch nothing until then; none if it can, as far as is known.
    pub no_capacity_until: Option<Timestamp>,
    /// The last pass that began to observe, whatever its outcome: its lock's version, and when.
    pub last_observed: Option<(i64, Timestamp)>,
    /// The `client_sha` of the environment's app version.
    pub app_client_sha: Option<ClientSha>,
    /// Ordered by the time of their state, newest first: images that are served, warming, or in
    /// use, and the last three of the others.
    pub images: Vec<ImageOverview>,
}

impl RegionOverview {
    /// The region's row without counts.
    pub fn row(&self) -> RegionRow {
        RegionRow {
            region: self.region.clone(),
            enabled: self.enabled,
            paused: self.paused,
            created_at: self.created_at,
            now: self.now,
        }
    }
}

/// The users who were refused for lack of capacity and still ask, with clients of one hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineOverview {
    pub client_sha: ClientSha,
    pub users: u32,
    /// For how long the first of them has been in line.
    pub longest_wait_seconds: i64,
    /// When the last of them may expect a slot; none if that is unknown.
    pub last_estimate_seconds: Option<u32>,
}

/// The settings that `status` shows. A row that a pass rejects is still shown: a column that is not
/// a number counts as 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SettingsOverview {
    pub target_free: u32,
    pub max_instances: u32,
    pub scale_up_step: u32,
    pub scale_down_step: u32,
    pub heartbeat_seconds: u32,
    pub lost_seconds: u32,
    pub upgrade_surge: u32,
    pub upgrade_seconds: u32,
    pub swap_when_warm: bool,
    pub bake_seconds: u32,
    /// None without a budget.
    pub monthly_budget: Option<u32>,
}

impl SettingsOverview {
    /// From a row of `regions` as JSON.
    pub fn from_columns(row: &Value) -> Self {
        let number = |column: &str| {
            let value = row.get(column).and_then(Value::as_u64).unwrap_or(0);
            u32::try_from(value).unwrap_or(u32::MAX)
        };
        let is_set = |column: &str| row.get(column).and_then(Value::as_bool).unwrap_or(false);
        Self {
            target_free: number("target_free"),
            max_instances: number("max_instances"),
            scale_up_step: number("scale_up_step"),
            scale_down_step: number("scale_down_step"),
            heartbeat_seconds: number("heartbeat_seconds"),
            lost_seconds: number("lost_seconds"),
            upgrade_surge: number("upgrade_surge"),
            upgrade_seconds: number("upgrade_seconds"),
            swap_when_warm: is_set("swap_when_warm"),
            bake_seconds: number("bake_seconds"),
            monthly_budget: Some(number("monthly_budget")).filter(|budget| *budget > 0),
        }
    }

    pub fn upgrade_deadline(&self) -> SignedDuration {
        SignedDuration::from_secs(self.upgrade_seconds.into())
    }

    pub fn bake(&self) -> SignedDuration {
        SignedDuration::from_secs(self.bake_seconds.into())
    }
}

/// An image, with counts of its instances and slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageOverview {
    pub image: ImageId,
    pub client_sha: ClientSha,
    /// None for an image that has instances but no row.
    pub state: Option<ImageState>,
    pub since: Option<Timestamp>,
    /// Why the image failed.
    pub reason: Option<String>,
    pub instances: InstanceCounts,
    /// `WAITING` slots on its instances that users may be assigned to.
    pub free: u32,
    /// The capacity of its `PRE_CONNECTION` instances.
    pub starting: u32,
    pub occupied: u32,
}

impl ImageOverview {
    /// Whether users are assigned to instances of this image.
    pub fn is_served(&self) -> bool {
        self.state.is_some_and(ImageState::is_served)
    }
}

/// Instances by their status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InstanceCounts {
    #[serde(rename = "PRE_CONNECTION")]
    pub pre_connection: u32,
    #[serde(rename = "ACTIVE")]
    pub active: u32,
    #[serde(rename = "DRAINING")]
    pub draining: u32,
    #[serde(rename = "TERMINATING")]
    pub terminating: u32,
    /// Of the active ones: neither silent nor announced to be taken, so that users may be assigned.
    pub open: u32,
}

impl InstanceCounts {
    /// The number of instances in any status.
    pub fn all(&self) -> u32 {
        self.pre_connection + self.active + self.draining + self.terminating
    }

    /// The sums of both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            pre_connection: self.pre_connection + other.pre_connection,
            active: self.active + other.active,
            draining: self.draining + other.draining,
            terminating: self.terminating + other.terminating,
            open: self.open + other.open,
        }
    }
}
