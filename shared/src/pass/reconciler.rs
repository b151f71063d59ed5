//! What a pass needs, and what it is requested with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use crate::alerts::Alerts;
use crate::clock::Clock;
use crate::db::{DbError, InstanceDatabase, RegionDatabase};
use crate::doctor::Probes;
use crate::execute::LaunchSettings;
use crate::host::{AccountRegions, HostHandlers};
use crate::ids::{RegionName, UniqueIds};
use crate::lock::{LockError, RegionLock};
use crate::metrics::Metrics;
use crate::observe::ObserveError;
use crate::recording::Recordings;
use crate::replicas::ReplicaStatusApi;
use crate::scaling::DecideError;
use crate::service::ServiceRecords;
use crate::store::StateStore;
use crate::trigger::Trigger;

/// Runs passes, with everything that a pass talks to. Built once per process.
pub struct Reconciler {
    pub regions: Arc<dyn RegionDatabase>,
    /// None in a stack of replicas only: they have no rows.
    pub instances: Option<Arc<dyn InstanceDatabase>>,
    pub lock: Arc<dyn RegionLock>,
    pub store: Arc<dyn StateStore>,
    pub service: Arc<dyn ServiceRecords>,
    pub hosts: Arc<dyn HostHandlers>,
    /// Where stray instances are searched for; none if that is switched off.
    pub account: Option<Arc<dyn AccountRegions>>,
    pub replicas: Arc<dyn ReplicaStatusApi>,
    pub alerts: Arc<dyn Alerts>,
    pub metrics: Arc<dyn Metrics>,
    pub invoker: Arc<dyn ReconcileInvoker>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn UniqueIds>,
    pub launches: LaunchSettings,
    pub limits: PassLimits,
    /// What `doctor` looks through; only `reconcile` has it.
    pub probes: Option<Arc<Probes>>,
    /// What a replay is played from. None in a stack of replicas only: they have no users.
    pub recordings: Option<Arc<dyn Recordings>>,
}

impl fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconciler")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Time limits. The budget ends before the lease, and the lease before the function's timeout.
#[derive(Clone, Copy, Debug)]
pub struct PassLimits {
    /// After this time, a pass begins no further step or round.
    pub budget: Duration,
    pub lease: Duration,
    /// The longest duration of one call to EC2, with the client's retries. A call is made only
    /// while the lease has more time left than this.
    pub ec2_call: Duration,
}

/// Starts a pass in another invocation.
#[async_trait]
pub trait ReconcileInvoker: Send + Sync {
    /// Hands a region over, without waiting for the pass. `id` is the request's id, so that all log
    /// lines that follow from one trigger have the same id.
    async fn hand_over(&self, region: &RegionName, id: &str) -> Result<(), HandOverError>;
}

#[derive(Debug, Error)]
#[error("hand the region over to an asynchronous reconcile: {0}")]
pub struct HandOverError(pub String);

/// A request for a pass.
#[derive(Clone, Debug)]
pub struct PassRequest {
    pub trigger: Trigger,
    /// The id of the event or the invocation. Every log line that follows from it has this id.
    pub id: String,
    /// When the invocation began: the budget and the lease count from then.
    pub began: Timestamp,
    /// An operator has approved the removal of everything that the guard found.
    pub approve_mass_removal: bool,
}

/// Why a round failed, or another one could not begin.
#[derive(Debug, Error)]
pub(super) enum PassError {
    #[error(transparent)]
    Observe(#[from] ObserveError),
    #[error(transparent)]
    Decide(#[from] DecideError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    HandOver(#[from] HandOverError),
}

impl PassError {
    /// Whether another pass has acquired the lock meanwhile.
    pub(super) fn is_lock_lost(&self) -> bool {
        matches!(
            self,
            Self::Lock(LockError::Lost { .. })
                | Self::Observe(
                    ObserveError::Lock(LockError::Lost { .. })
                        | ObserveError::Database(DbError::Fenced { .. })
                )
        )
    }

    /// Whether the round failed because the database did not answer.
    pub(super) fn is_database_down(&self) -> bool {
        matches!(
            self,
            Self::Observe(ObserveError::Database(DbError::Unavailable { .. }))
        )
    }
}

/// For reports: whole milliseconds.
pub(super) fn millis(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
