//! A pass: lock → observe → decide → execute → record → unlock.
//!
//! [`Reconciler::run`] is one pass for one region. It goes through these steps once, and again if
//! the region was marked meanwhile ([`rounds`]). Functions that are triggered by events come in
//! through [`Reconciler::handle_event`] ([`events`]).

mod events;
mod rounds;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;
use tracing::{Instrument, info_span};

pub use events::{EventOutcome, guard};

use crate::alerts::{Alerts, Problem};
use crate::clock::Clock;
use crate::db::{DbError, InstanceDatabase, RegionDatabase};
use crate::execute::LaunchSettings;
use crate::host::{HostHandler, HostHandlers};
use crate::ids::{RegionName, UniqueIds};
use crate::lock::{LockError, RegionLock};
use crate::observe::{ObserveError, Observer};
use crate::publish;
use crate::replicas::ReplicaStatusApi;
use crate::report::{PassOutcome, PassReport};
use crate::scaling::{self, DecideError};
use crate::store::StateStore;
use crate::trigger::Trigger;

/// Runs passes, with everything that a pass talks to. Built once per process.
pub struct Reconciler {
    pub regions: Arc<dyn RegionDatabase>,
    /// None in a stack of replicas alone: they have no rows.
    pub instances: Option<Arc<dyn InstanceDatabase>>,
    pub lock: Arc<dyn RegionLock>,
    pub store: Arc<dyn StateStore>,
    pub hosts: Arc<dyn HostHandlers>,
    pub replicas: Arc<dyn ReplicaStatusApi>,
    pub alerts: Arc<dyn Alerts>,
    pub invoker: Arc<dyn ReconcileInvoker>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn UniqueIds>,
    pub launches: LaunchSettings,
    pub limits: PassLimits,
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
    /// After this time, a pass begins neither another step nor another round.
    pub budget: Duration,
    pub lease: Duration,
    /// The longest that one call to EC2 may take, retries of the client included. A call is made
    /// only while the lease has more time left than this.
    pub ec2_call: Duration,
}

/// Runs a pass for a region in an invocation of its own.
#[async_trait]
pub trait ReconcileInvoker: Send + Sync {
    /// `id` is the request's id, so that everything that follows from one trigger has one id in
    /// the log.
    async fn hand_over(&self, region: &RegionName, id: &str) -> Result<(), HandOverError>;
}

#[derive(Debug, Error)]
#[error("hand over to an asynchronous reconcile: {0}")]
pub struct HandOverError(pub String);

/// What a pass is requested with.
#[derive(Clone, Debug)]
pub struct PassRequest {
    pub trigger: Trigger,
    /// The event's id, or the invocation's. Every log line that follows from it carries it.
    pub id: String,
    /// When the invocation began: the budget and the lease count from then.
    pub began: Timestamp,
    /// An operator has approved the removal of everything that the guard found.
    pub approve_mass_removal: bool,
}

/// Why a round failed, or another one could not begin.
#[derive(Debug, Error)]
enum PassError {
    #[error(transparent)]
    Observe(#[from] ObserveError),
    #[error(transparent)]
    Decide(#[from] DecideError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    HandOver(#[from] HandOverError),
}

impl Reconciler {
    /// One pass for one region. It never fails as a whole: the report says what failed.
    pub async fn run(&self, region: &RegionName, request: &PassRequest) -> PassReport {
        let span = info_span!("pass", %region, trigger = request.trigger.name(), id = request.id);
        async {
            let mut report = PassReport::of(region);
            report.outcome = self
                .run_rounds(request, &mut report)
                .await
                .unwrap_or_else(|error| PassOutcome::Failed {
                    error: error.to_string(),
                });
            report.duration_ms = millis(self.clock.now().duration_since(request.began));
            publish::log_pass(&report);
            publish::alert(&*self.alerts, &report).await;
            report
        }
        .instrument(span)
        .await
    }

    /// What a pass would do now, and why. Takes no lock and changes nothing.
    pub async fn dry_run(&self, region: &RegionName, request: &PassRequest) -> PassReport {
        let began = self.clock.now();
        let host = self.hosts.in_region(region);
        let plan = async {
            let (mut snapshot, now) = self.observer(&*host).observe(region, began).await?;
            snapshot.mass_removal_approved = request.approve_mass_removal;
            Ok::<_, PassError>(scaling::decide(&snapshot, now)?)
        };
        let mut report = match plan.await {
            Ok(plan) => PassReport {
                outcome: PassOutcome::DryRun,
                plan: Some(plan),
                ..PassReport::of(region)
            },
            Err(error) => PassReport::failed(region, &error),
        };
        report.duration_ms = millis(self.clock.now().duration_since(began));
        report
    }

    /// Every region that has a row. No pass can report a database that does not even list them,
    /// so this sends the alert itself.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn regions(&self) -> Result<Vec<RegionName>, DbError> {
        let regions = self.regions.regions().await;
        if let Err(error) = &regions {
            let kind = "list the regions".to_owned();
            let problem = Problem {
                text: format!("{kind}: {error}"),
                kind,
            };
            self.alerts.send(&"all-regions".into(), &[problem]).await;
        }
        regions
    }

    /// What this reconciler observes a region with.
    pub fn observer<'a>(&'a self, host: &'a dyn HostHandler) -> Observer<'a> {
        Observer {
            renew_after: self.launches.renew_after(),
            database: &*self.regions,
            host,
            store: &*self.store,
            replicas: &*self.replicas,
        }
    }
}

fn millis(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
