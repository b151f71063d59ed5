//! The database ports: whole observations, and fenced writes.

use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;
use thiserror::Error;

use crate::agent_token::AgentToken;
use crate::ids::{ClientSha, ImageId, InstanceId, RegionName};
use crate::model::{
    DrainCause, Flow, Image, ImageState, Instance, InstanceAddresses, InstanceStatus, Line,
    NewInstance, Outlook, Spending, SpotNotice, TerminateIf,
};
use crate::settings::RegionSettings;

/// A region's rows, read in one transaction.
#[derive(Clone, Debug)]
pub struct Observation {
    pub settings: RegionSettings,
    /// The database's clock: the `now` of every decision.
    pub now: Timestamp,
    /// Users in line who are demand of this region and whom launches of its current image can serve.
    /// Each user is demand once: in the first of their regions that can launch.
    pub waiting: u32,
    /// The region's lines that have users, by client hash.
    pub lines: Vec<Line>,
    /// What the algorithm `adaptive` sizes the target by; none with the others.
    pub flow: Option<Flow>,
    /// What its instances have cost this month; none without prices.
    pub spending: Option<Spending>,
    /// Since when passes have observed without a long gap. An agent's silence counts from then on
    /// only: before, the database may have been down, so that no heartbeat could be recorded.
    pub watched_since: Timestamp,
    /// The `client_sha` of the environment's app version.
    pub app_sha: Option<ClientSha>,
    pub images: Vec<Image>,
    pub instances: Vec<Instance>,
}

/// The version of the lock under which a write is made. Writes under an older version than the
/// fence's are rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    pub region: RegionName,
    pub version: i64,
}

/// The outcome of a write for one id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteResult {
    pub id: String,
    pub outcome: WriteOutcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteOutcome {
    Done,
    /// The row was already in that state.
    Already,
    /// A slot of the instance is occupied.
    Occupied,
    /// Its host agent has sent a heartbeat meanwhile.
    Alive,
    /// The row is in a state that this write does not apply to.
    WrongState,
    /// There is no such row.
    Unknown,
    /// Somebody else holds the row, and a pass does not wait: it comes with the next one.
    Busy,
}

impl WriteOutcome {
    /// The row is in the requested state now.
    pub fn holds(self) -> bool {
        matches!(self, Self::Done | Self::Already)
    }
}

impl fmt::Display for WriteOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Already => "already done",
            Self::Occupied => "occupied by a user",
            Self::Alive => "its host agent sends heartbeats",
            Self::WrongState => "it is in another state",
            Self::Unknown => "it has no row",
            Self::Busy => "somebody else holds the row; the next pass writes it",
        })
    }
}

/// Reads regions. Every algorithm needs it.
#[async_trait]
pub trait RegionDatabase: Send + Sync {
    /// Every region that has a row, enabled or not.
    async fn regions(&self) -> Result<Vec<RegionName>, DbError>;

    /// Raises the fence and reads the region, in one transaction.
    ///
    /// # Errors
    /// [`DbError::BehindFence`] when the fence is already higher.
    async fn begin_pass(&self, fence: &Fence) -> Result<Observation, DbError>;

    /// Reads the region without raising the fence, for a dry run.
    async fn observe(&self, region: &RegionName) -> Result<Observation, DbError>;
}

/// The rows of instances. A stack of replicas only has none.
///
/// Every write of a pass is idempotent, and fails with [`DbError::Fenced`] under an older version. It
/// never waits for a row that somebody else holds: it answers [`WriteOutcome::Busy`] for it, writes the
/// others, and the next pass decides again.
#[async_trait]
pub trait InstanceDatabase: Send + Sync {
    /// Inserts launched instances as `PRE_CONNECTION`.
    async fn record_instances(
        &self,
        fence: &Fence,
        instances: &[NewInstance],
    ) -> Result<Vec<WriteResult>, DbError>;

    /// Inserts machines that have no row as `TERMINATING`.
    async fn adopt_orphans(
        &self,
        fence: &Fence,
        orphans: &[NewInstance],
    ) -> Result<Vec<WriteResult>, DbError>;

    /// Takes instances out of service: empty ones, or with their users where the cause leaves them alone.
    async fn drain(
        &self,
        fence: &Fence,
        ids: &[InstanceId],
        cause: DrainCause,
    ) -> Result<Vec<WriteResult>, DbError>;

    /// Takes back drains for surplus, if the agents have not been told.
    async fn reopen(&self, fence: &Fence, ids: &[InstanceId]) -> Result<Vec<WriteResult>, DbError>;

    /// Sets instances to `TERMINATING`. Only then may EC2 be asked to terminate them.
    async fn terminate(
        &self,
        fence: &Fence,
        ids: &[InstanceId],
        condition: TerminateIf,
    ) -> Result<Vec<WriteResult>, DbError>;

    /// Deletes the rows of `TERMINATING` instances that EC2 does not have any more.
    async fn remove(&self, fence: &Fence, ids: &[InstanceId]) -> Result<Vec<WriteResult>, DbError>;

    /// Sets `missing_since` of instances that a complete listing did not contain, and clears it for
    /// those that are listed again.
    async fn note_missing(
        &self,
        fence: &Fence,
        missing: &[InstanceId],
        present: &[InstanceId],
    ) -> Result<Vec<WriteResult>, DbError>;

    /// Stores the addresses that EC2 gave instances. In regions whose users get one of them, it is
    /// also the address of registered instances from now on.
    async fn note_addresses(
        &self,
        fence: &Fence,
        addresses: &[InstanceAddresses],
    ) -> Result<Vec<WriteResult>, DbError>;

    /// Frees slots that were allocated and not claimed in time.
    async fn release_unclaimed(&self, fence: &Fence) -> Result<Vec<WriteResult>, DbError>;

    /// Writes to sessions whose limit comes why and by when they are to end, for their agents. One row per
    /// instance.
    async fn mark_ends(&self, fence: &Fence) -> Result<Vec<WriteResult>, DbError>;

    /// Replaces the region's forecasts, and until when it can launch nothing. The next refusal of each of
    /// its users wakes the region in which they are demand then.
    async fn note_forecast(
        &self,
        fence: &Fence,
        outlook: &Outlook,
    ) -> Result<Vec<WriteResult>, DbError>;

    /// Stores the next tokens of agents. Only their instances can read them.
    async fn renew_tokens(
        &self,
        fence: &Fence,
        tokens: &[(InstanceId, AgentToken)],
    ) -> Result<Vec<WriteResult>, DbError>;

    /// Moves an image from the first state to the second, if it has been in the first since before
    /// the pass began. When an image becomes current, the previous one bakes.
    async fn move_image(
        &self,
        fence: &Fence,
        image: &ImageId,
        states: (ImageState, ImageState),
        reason: &str,
    ) -> Result<Vec<WriteResult>, DbError>;

    /// Requests a new image in a region. Not fenced, because an operator decides it, not a pass.
    async fn request_upgrade(
        &self,
        region: &RegionName,
        image: &ImageId,
        client_sha: &ClientSha,
    ) -> Result<UpgradeRequested, DbError>;

    /// The region and status of an instance; none if it has no row. For events, not for passes.
    async fn find_instance(&self, id: &InstanceId) -> Result<Option<KnownInstance>, DbError>;

    /// Stores a spot notice with its instance. Not fenced, because it is an observation and not a
    /// decision: it is stored whichever pass holds the region's lock. It waits for a held row, but not
    /// for long.
    async fn record_spot_notice(
        &self,
        id: &InstanceId,
        notice: SpotNotice,
    ) -> Result<WriteOutcome, DbError>;

    /// Stores since when EC2 has run instances, for the history: the earliest time that is given. Not
    /// fenced either, and it does not wait for a held row.
    async fn note_running(
        &self,
        running: &[(InstanceId, Timestamp)],
    ) -> Result<Vec<WriteResult>, DbError>;
}

/// The outcome of requesting an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeRequested {
    Requested,
    /// The image is already current, baking or warming.
    Already,
    /// The image has a row with another `client_sha`.
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
    /// Hasura did not answer: the operation may or may not have happened.
    #[error("Hasura did not {operation}: {reason}")]
    Unavailable {
        operation: &'static str,
        reason: String,
    },
    /// Hasura answered with an error.
    #[error("Hasura refused to {operation}: {message} ({code})")]
    Refused {
        operation: &'static str,
        code: String,
        message: String,
    },
    /// Another pass holds a newer version of this region's lock.
    #[error("the lock on {region} was lost: version {version} is older than the one in force")]
    Fenced { region: RegionName, version: i64 },
    /// A pass begins under a version below the fence. Either its lock was lost, or the scaling
    /// table was created anew or restored, and counts from an earlier number.
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
    /// A row has an invalid value.
    #[error("table `{table}`, row {key}, column `{column}`: {problem}")]
    BadRow {
        table: &'static str,
        key: String,
        column: &'static str,
        problem: String,
    },
}
