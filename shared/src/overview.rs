//! What the database says to somebody who only looks: of all regions counted, and of one region its
//! instances by the page. No user has a row of his own.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;

use crate::db::DbError;
use crate::ids::{ClientSha, ImageId, InstanceId, RegionName};
use crate::model::{ImageState, Instance};

/// Reads only.
#[async_trait]
pub trait Overview: Send + Sync {
    /// Every region that has a row, by name, in one request.
    async fn regions(&self) -> Result<Vec<RegionOverview>, DbError>;

    /// A region's next instances after an id, by id, each with its slots counted.
    async fn instances(
        &self,
        region: &RegionName,
        after: Option<&InstanceId>,
        most: u32,
    ) -> Result<Vec<Instance>, DbError>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionOverview {
    pub region: RegionName,
    pub enabled: bool,
    pub paused: bool,
    pub algorithm: String,
    pub settings: SettingsOverview,
    /// When its row was made.
    pub created_at: Timestamp,
    /// The database's clock.
    pub now: Timestamp,
    /// Users refused for want of capacity in the last minute and not served since.
    pub waiting: u32,
    /// The last pass that began to look, whatever became of it: its lock's version, and when.
    pub looked: Option<(i64, Timestamp)>,
    /// The client_sha that the environment's app version names.
    pub app_client_sha: Option<ClientSha>,
    /// Newest state first: those that are served, about to be, or run on, and the last three of
    /// the others.
    pub images: Vec<ImageOverview>,
}

/// The settings that say how much a pass may do, as `status` shows them. A row that a pass cannot
/// work with is still shown: a column that is not a number counts as 0.
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
}

impl SettingsOverview {
    /// From a whole row of `regions`.
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
        }
    }

    pub fn upgrade_deadline(&self) -> SignedDuration {
        SignedDuration::from_secs(self.upgrade_seconds.into())
    }

    pub fn bake(&self) -> SignedDuration {
        SignedDuration::from_secs(self.bake_seconds.into())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageOverview {
    pub image: ImageId,
    pub client_sha: ClientSha,
    /// None for an image without a row, on which instances run all the same.
    pub state: Option<ImageState>,
    pub since: Option<Timestamp>,
    /// Why it failed.
    pub reason: Option<String>,
    pub instances: InstanceCounts,
    /// `WAITING` slots on instances of it that users may be put on, by the rule of assigning.
    pub free: u32,
    /// The capacity of its `PRE_CONNECTION` instances.
    pub starting: u32,
    pub occupied: u32,
}

impl ImageOverview {
    /// Whether users are assigned to it.
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
    /// Of the active: not silent, nor about to be taken by EC2, so that users may be put there.
    pub open: u32,
}

impl InstanceCounts {
    /// Of any status.
    pub fn all(&self) -> u32 {
        self.pre_connection + self.active + self.draining + self.terminating
    }

    /// All of both.
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
