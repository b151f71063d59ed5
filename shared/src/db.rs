//! The database as the service needs it: whole observations, and fenced writes.

mod environment;
mod hasura;
mod hasura_assign;
mod hasura_overview;
mod hasura_pass;
mod rows;

use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;
use thiserror::Error;

pub use environment::EnvironmentDatabase;
pub use hasura::{HasuraClient, HasuraSettings};
pub use hasura_assign::HasuraAssigner;
pub use hasura_overview::HasuraOverview;
pub use hasura_pass::HasuraDatabase;
pub(crate) use rows::{launch_choices, security_groups, with_capacity};

use crate::ids::{ClientSha, ImageId, InstanceId, RegionName};
use crate::model::{
    Image, ImageState, Instance, InstanceStatus, NewInstance, Notice, RegionSettings,
};

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

/// On what condition an instance may become `TERMINATING`; checked again by the database
/// with the rows locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TerminateIf {
    /// No slot is occupied.
    Empty,
    /// The host agent has been silent for the region's `lost_seconds`.
    Lost,
    /// No heartbeat is fresh, and EC2 neither lists the machine nor knows it by its id.
    Missing,
    /// EC2 says that the machine is shutting down or terminated.
    Gone,
}

impl TerminateIf {
    pub fn as_sql(self) -> &'static str {
        match self {
            Self::Empty => "EMPTY",
            Self::Lost => "LOST",
            Self::Missing => "MISSING",
            Self::Gone => "GONE",
        }
    }
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

/// The pass's side of the database. Every write is idempotent and refuses an older version
/// with [`DbError::Fenced`].
#[async_trait]
pub trait Database: Send + Sync {
    /// Every region that has a row, enabled or not.
    async fn regions(&self) -> Result<Vec<RegionName>, DbError>;

    /// Raises the fence and observes, in one transaction; [`DbError::BehindFence`] when the
    /// fence is higher already.
    async fn begin_pass(&self, fence: &Fence) -> Result<Observation, DbError>;

    /// Observes only, for a dry run.
    async fn look(&self, region: &RegionName) -> Result<Observation, DbError>;

    /// Inserts launched instances as `PRE_CONNECTION`.
    async fn record_instances(
        &self,
        fence: &Fence,
        instances: &[NewInstance],
    ) -> Result<Vec<WriteResult>, DbError>;

    /// Inserts machines that nobody knows of as `TERMINATING`.
    async fn adopt_orphans(
        &self,
        fence: &Fence,
        orphans: &[NewInstance],
    ) -> Result<Vec<WriteResult>, DbError>;

    /// Takes empty instances out of service.
    async fn drain(&self, fence: &Fence, ids: &[InstanceId]) -> Result<Vec<WriteResult>, DbError>;

    /// Commits instances to their end; only then may EC2 be asked.
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

    /// Gives slots back that were allocated and never claimed.
    async fn release_unclaimed(&self, fence: &Fence) -> Result<Vec<WriteResult>, DbError>;

    /// Moves an image from one state to the next, if it still is in the first, and has been since
    /// before the pass began; the current one bakes when another takes its place.
    async fn move_image(
        &self,
        fence: &Fence,
        image: &ImageId,
        states: (ImageState, ImageState),
        reason: &str,
    ) -> Result<Vec<WriteResult>, DbError>;

    /// Asks for a new image in a region. No fence: an operator's word, not a pass's.
    async fn ask_upgrade(
        &self,
        region: &RegionName,
        image: &ImageId,
        client_sha: &ClientSha,
    ) -> Result<Asked, DbError>;

    /// Where an instance is and how it stands; none if it is not ours. An event's question,
    /// not a pass's.
    async fn find_instance(&self, id: &InstanceId) -> Result<Option<KnownInstance>, DbError>;

    /// Notes what EC2 is about to do to an instance. No fence: it is no decision, and it is noted
    /// whoever holds the region's lock.
    async fn give_notice(&self, id: &InstanceId, notice: Notice) -> Result<WriteOutcome, DbError>;
}

/// What asking for an image came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Asked,
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
