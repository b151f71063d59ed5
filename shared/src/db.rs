//! The database as the service needs it: whole observations, and fenced writes.

use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;
use thiserror::Error;

use crate::ids::{ClientSha, ImageId, InstanceId, RegionName};
use crate::model::{
    Image, ImageState, Instance, InstanceStatus, NewInstance, SpotNotice, TerminateIf,
};
use crate::settings::RegionSettings;

/// What one transaction saw of a region.
#[derive(Clone, Debug)]
pub struct Observation {
    pub settings: RegionSettings,
    /// The database's clock: the `now` of every decision.
    pub now: Timestamp,
    /// Users refused for want of capacity in the last minute and not served since.
    pub waiting: u32,
    /// Since when passes have looked without a long gap. An agent's silence counts from then on
    /// only: before, the database may have been down, and nobody could be heard.
    pub watched_since: Timestamp,
    /// The client_sha that the environment's app version names.
    pub app_sha: Option<ClientSha>,
    pub images: Vec<Image>,
    pub instances: Vec<Instance>,
}

/// Under which version of the lock a write is made; an older one is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    pub region: RegionName,
    pub version: i64,
}

/// What became of one id in a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteResult {
    pub id: String,
    pub outcome: WriteOutcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteOutcome {
    Done,
    /// It was so before.
    Already,
    /// A user is there.
    Occupied,
    /// Its host agent was heard of in the meantime.
    Alive,
    /// The instance has moved on to a state that this write does not apply to.
    WrongState,
    Unknown,
}

impl WriteOutcome {
    /// The row is now as the write wanted it.
    pub fn holds(self) -> bool {
        matches!(self, Self::Done | Self::Already)
    }
}

impl fmt::Display for WriteOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Already => "already so",
            Self::Occupied => "a user is there",
            Self::Alive => "its host agent was heard of",
            Self::WrongState => "it has moved on to another state",
            Self::Unknown => "the database has no such row",
        })
    }
}

/// What every algorithm needs of the database.
#[async_trait]
pub trait RegionDatabase: Send + Sync {
    /// Every region that has a row, enabled or not.
    async fn regions(&self) -> Result<Vec<RegionName>, DbError>;

    /// Raises the fence and observes, in one transaction.
    ///
    /// # Errors
    /// [`DbError::BehindFence`] when the fence is higher already.
    async fn begin_pass(&self, fence: &Fence) -> Result<Observation, DbError>;

    /// Observes without a fence, for a dry run.
    async fn observe(&self, region: &RegionName) -> Result<Observation, DbError>;
}

/// The rows of instances. A stack of replicas alone has none of them.
///
/// Every write of a pass is idempotent and refuses an older version with [`DbError::Fenced`].
#[async_trait]
pub trait InstanceDatabase: Send + Sync {
    /// Inserts launched instances as `PRE_CONNECTION`.
    async fn record_instances(
        &self,
        fence: &Fence,
        instances: &[NewInstance],
    ) -> Result<Vec<WriteResult>, DbError>;

    /// Inserts machines without a row as `TERMINATING`.
    async fn adopt_orphans(
        &self,
        fence: &Fence,
        orphans: &[NewInstance],
    ) -> Result<Vec<WriteResult>, DbError>;

    /// Takes empty instances out of service.
    async fn drain(&self, fence: &Fence, ids: &[InstanceId]) -> Result<Vec<WriteResult>, DbError>;

    /// Commits instances to `TERMINATING`; only then may EC2 be asked to terminate them.
    async fn terminate(
        &self,
        fence: &Fence,
        ids: &[InstanceId],
        condition: TerminateIf,
    ) -> Result<Vec<WriteResult>, DbError>;

    /// Deletes the rows of `TERMINATING` instances that EC2 no longer has.
    async fn remove(&self, fence: &Fence, ids: &[InstanceId]) -> Result<Vec<WriteResult>, DbError>;

    /// Starts the clock of instances that a complete listing missed, and stops it for those
    /// that are listed again.
    async fn note_missing(
        &self,
        fence: &Fence,
        missing: &[InstanceId],
        present: &[InstanceId],
    ) -> Result<Vec<WriteResult>, DbError>;

    /// Releases slots that were allocated and not claimed in time.
    async fn release_unclaimed(&self, fence: &Fence) -> Result<Vec<WriteResult>, DbError>;

    /// Moves an image from one state to the next, if it still is in the first, and has been since
    /// before the pass began. When another image becomes current, the previous one bakes.
    async fn move_image(
        &self,
        fence: &Fence,
        image: &ImageId,
        states: (ImageState, ImageState),
        reason: &str,
    ) -> Result<Vec<WriteResult>, DbError>;

    /// Requests a new image in a region. Without a fence: an operator orders it, not a pass.
    async fn request_upgrade(
        &self,
        region: &RegionName,
        image: &ImageId,
        client_sha: &ClientSha,
    ) -> Result<UpgradeRequested, DbError>;

    /// The region and status of an instance; none if it is not ours. Asked by events, not by
    /// passes.
    async fn find_instance(&self, id: &InstanceId) -> Result<Option<KnownInstance>, DbError>;

    /// Records a spot notice with its instance. Without a fence: it is not a decision, and it is
    /// recorded whoever holds the region's lock.
    async fn record_spot_notice(
        &self,
        id: &InstanceId,
        notice: SpotNotice,
    ) -> Result<WriteOutcome, DbError>;
}

/// What asking for an image came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeRequested {
    Requested,
    /// It is current, baking or warming already.
    Already,
    /// It is known with another client_sha.
    OtherSha,
}

/// An instance that has a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownInstance {
    pub region: RegionName,
    pub status: InstanceStatus,
}

#[derive(Debug, Error)]
pub enum DbError {
    /// No answer, or none from the GraphQL engine: it may or may not have happened.
    #[error("ask Hasura to {operation}: {reason}")]
    Unavailable {
        operation: &'static str,
        reason: String,
    },
    /// The engine answered with an error.
    #[error("Hasura refused to {operation}: {message} ({code})")]
    Refused {
        operation: &'static str,
        code: String,
        message: String,
    },
    /// Another pass holds a newer version of this region's lock.
    #[error("the lock on {region} was lost: version {version} is older than the one in force")]
    Fenced { region: RegionName, version: i64 },
    /// A pass begins under an older version than the one in force. Either its lock was lost, or
    /// the scaling table was made anew or restored and counts from an earlier number.
    #[error("the fence of {region} is at version {in_force}, the lock only at {version}")]
    BehindFence {
        region: RegionName,
        version: i64,
        in_force: i64,
    },
    #[error(
        "no row for region {0} in table `regions`: insert one, or correct the name in the request"
    )]
    UnknownRegion(RegionName),
    /// A row that the service cannot work with.
    #[error("table `{table}`, row {key}, column `{column}`: {problem}")]
    BadRow {
        table: &'static str,
        key: String,
        column: &'static str,
        problem: String,
    },
}
